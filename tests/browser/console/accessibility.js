// Returns what is wrong with the page that it runs in, as sentences. See accessibility.py.
(() => {
  const faults = [];
  const shown = (it) => it.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const named = (it) => {
    const labelled = (it.getAttribute("aria-labelledby") ?? "").split(/\s+/).filter(Boolean)
      .map((id) => document.getElementById(id)?.textContent ?? "").join(" ");
    return (it.getAttribute("aria-label") || labelled || [...(it.labels ?? [])].map((l) => l.textContent).join(" ")
      || it.getAttribute("alt") || it.textContent || (it.type === "submit" ? it.value : "")).trim();
  };
  const what = (it) => it.outerHTML.slice(0, 120);

  if (!document.documentElement.lang) faults.push("the page has no language");
  if (!document.title.trim()) faults.push("the page has no title");
  if (document.querySelectorAll("main").length !== 1) faults.push("there is not one main landmark");
  const navs = [...document.querySelectorAll("nav")].filter(shown);
  if (navs.length > 1) for (const it of navs) if (!it.getAttribute("aria-label")) faults.push(`unnamed nav: ${what(it)}`);
  const h1 = [...document.querySelectorAll("h1")].filter(shown);
  if (h1.length !== 1) faults.push(`${h1.length} headings of the first level`);
  let level = 0;
  for (const it of [...document.querySelectorAll("h1, h2, h3, h4")].filter(shown)) {
    const now = Number(it.tagName[1]);
    if (now > level + 1) faults.push(`heading skips a level: ${what(it)}`);
    level = now;
  }
  for (const it of document.querySelectorAll("li"))
    if (!it.parentElement.matches("ul, ol") || (it.parentElement.getAttribute("role") ?? "list") !== "list") faults.push(`not in a list: ${what(it)}`);
  const ids = [...document.querySelectorAll("[id]")].map((it) => it.id);
  for (const id of new Set(ids.filter((id, place) => ids.indexOf(id) !== place))) faults.push(`the id ${id} is there twice`);
  for (const it of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")) {
    if (!shown(it)) continue;
    if (!named(it)) faults.push(`without a name: ${what(it)}`);
    if (it.matches("input:not([type=hidden]), select, textarea") && !it.labels?.length && !it.getAttribute("aria-label"))
      faults.push(`without a label: ${what(it)}`);
    if (it.tabIndex < 0) faults.push(`not reached by the keyboard: ${what(it)}`);
  }
  for (const it of document.querySelectorAll("[tabindex]")) if (it.tabIndex > 0) faults.push(`disturbs the order: ${what(it)}`);
  for (const it of document.querySelectorAll("img")) if (!it.hasAttribute("alt")) faults.push(`image without alt: ${what(it)}`);
  for (const it of document.querySelectorAll("svg:not([aria-hidden=true])")) if (!it.getAttribute("aria-label")) faults.push("chart without a name");
  for (const it of document.querySelectorAll("[aria-labelledby], [aria-describedby]"))
    for (const id of `${it.getAttribute("aria-labelledby") ?? ""} ${it.getAttribute("aria-describedby") ?? ""}`.split(/\s+/).filter(Boolean))
      if (!document.getElementById(id)) faults.push(`refers to nothing: ${id}`);
  for (const it of document.querySelectorAll("table")) {
    if (!it.tBodies[0]?.rows.length || it.querySelector("td.empty")) continue;
    for (const cell of it.querySelectorAll("thead th")) if (cell.scope !== "col") faults.push(`column without scope: ${what(cell)}`);
    if (!it.querySelector("thead th")) faults.push(`table without headings: ${what(it)}`);
  }
  for (const it of document.querySelectorAll("pre, .table")) {
    if (it.scrollHeight > it.clientHeight + 1 && it.matches("pre") && shown(it) && it.tabIndex < 0 && !it.querySelector("a"))
      faults.push(`scrolls and is not reached by the keyboard: ${what(it)}`);
  }

  const parse = (text) => {
    const canvas = parse.canvas ??= document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((value, place) => (place === 3 ? value / 255 : value));
  };
  const over = (top, below) => [0, 1, 2].map((place) => top[place] * top[3] + below[place] * (1 - top[3])).concat(1);
  const ground = (it) => {
    const layers = [];
    for (let at = it; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    const page = matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1];
    return layers.reverse().reduce((below, top) => over(top, below), page);
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (texts.nextNode()) {
    const it = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || seen.has(it) || !shown(it) || it.closest("option, script, :disabled")) continue;
    seen.add(it);
    const style = getComputedStyle(it);
    const below = ground(it);
    const colour = over(parse(it.closest("svg") ? style.fill : style.color), below);
    const [low, high] = [light(colour), light(below)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) faults.push(`contrast ${ratio.toFixed(2)}: “${texts.currentNode.textContent.trim().slice(0, 40)}” ${what(it)}`);
  }
  return faults;
})()
