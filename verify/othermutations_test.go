package verify_test

func (w *world) files(sum *score)       {}
func (w *world) slruPages(sum *score)   {}
func (w *world) baseIsWrong(sum *score) {}
func (w *world) walIsWrong(sum *score)  {}
