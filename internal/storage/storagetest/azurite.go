package storagetest

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"redoubt/internal/pgtest"
)

// The account that Azurite has, as its documentation gives it.
const (
	azureAccount = "devstoreaccount1"
	azureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Azure starts Azurite, Microsoft's emulator of its Blob service, in memory,
// and returns a function that makes a container and tells its location. The
// test is skipped, loudly, where it is not: REDOUBT_AZURITE names its blob.js,
// or it is below .cache/azurite of the repository; node is needed, too.
func Azure(t testing.TB) (newBucket func(name string) string) {
	t.Helper()
	main := cached("REDOUBT_AZURITE", "azurite", "node_modules", "azurite", "dist", "src", "blob", "main.js")
	node, err := exec.LookPath("node")
	if main == "" || err != nil {
		pgtest.SkipProof(t, "no Azure server: run scripts/fetch-azurite, which wants npm, or name its blob/main.js in REDOUBT_AZURITE")
	}
	addr := freeAddr(t)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	startServer(t, addr, node, main, "--blobHost", host, "--blobPort", port, "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent")
	t.Setenv("AZURE_STORAGE_ACCOUNT", azureAccount)
	t.Setenv("AZURE_STORAGE_KEY", azureKey)
	return func(name string) string {
		cred, err := azblob.NewSharedKeyCredential(azureAccount, azureKey)
		if err != nil {
			t.Fatal(err)
		}
		client, err := azblob.NewClientWithSharedKeyCredential(fmt.Sprintf("http://%s/%s", addr, azureAccount), cred, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.CreateContainer(context.Background(), name, nil); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("azblob://%s?protocol=http&domain=%s&localemu=true", name, addr)
	}
}
