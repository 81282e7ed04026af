// What TestBrowserPages and TestBrowserKeyboard see of a page. Contrast is
// WCAG's, of computed colors: 4.5:1, or 3:1 for large text.
(() => {
  const parse = (s) => {
    const m = s.match(/[\d.]+/g);
    if (!m) return [0, 0, 0, 0];
    const v = m.map(Number);
    if (s.startsWith("color(")) return [v[0] * 255, v[1] * 255, v[2] * 255, v.length > 3 ? v[3] : 1];
    return [v[0], v[1], v[2], v.length > 3 ? v[3] : 1];
  };
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const luminance = (c) => {
    const f = c.slice(0, 3).map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2];
  };
  const ratio = (a, b) => {
    const x = luminance(a), y = luminance(b);
    return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
  };
  const visible = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !e.closest(".vh, .skip");
  // A gradient counts as its most different color: what is readable on that is readable on all of it.
  const grounds = (e) => {
    const layers = [];
    for (let n = e; n; n = n.parentElement) {
      const s = getComputedStyle(n);
      layers.push([parse(s.backgroundColor), ...(s.backgroundImage.match(/(rgba?|color)\([^)]*\)/g) || []).map(parse)]);
    }
    let out = [parse(getComputedStyle(document.body).backgroundColor)];
    for (const l of layers.reverse()) out = out.flatMap((g) => l.map((c) => over(c, g)));
    return out;
  };
  const short = (s) => s.trim().replace(/\s+/g, " ").slice(0, 40);
  const name = (e) => short(e.getAttribute("aria-label") || (e.labels && e.labels[0] && e.labels[0].firstChild.textContent) ||
    (e.getAttribute("aria-labelledby") && document.getElementById(e.getAttribute("aria-labelledby")).textContent) || e.textContent || "");

  const faint = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = texts.nextNode(); n; n = texts.nextNode()) {
    const e = n.parentElement;
    if (!n.textContent.trim() || e.closest("svg, option, style") || !visible(e)) continue;
    const s = getComputedStyle(e);
    const large = parseFloat(s.fontSize) >= 24 || (parseFloat(s.fontSize) >= 18.66 && Number(s.fontWeight) >= 700);
    for (const g of grounds(e)) {
      const r = ratio(over(parse(s.color), g), g);
      if (r < (large ? 3 : 4.5)) faint.add(short(n.textContent) + " " + r.toFixed(2) + ":1");
    }
  }
  const stops = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
    .filter((e) => e.checkVisibility() && e.tabIndex >= 0);
  window.redoubtFocus = () => {
    const e = document.activeElement, s = getComputedStyle(e);
    const box = e.getBoundingClientRect();
    return {
      Name: e.tagName + " " + name(e),
      Visible: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 && box.bottom > 0 && box.top < innerHeight,
    };
  };
  return {
    Overflow: Math.max(0, document.documentElement.scrollWidth - innerWidth),
    Faint: [...faint],
    Nameless: stops.filter((e) => !name(e)).map((e) => e.outerHTML.slice(0, 120)),
    Stops: stops.map((e) => e.tagName + " " + name(e)),
  };
})()
