// JSON handled as text: what a producer has spelled 1.0 or 12345678901234567890 stays so, which JSON.parse would not keep.

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
const ONE_LINE_CHARACTERS = 76;

// The text of one member of an object, or "" if it has none of this name.
export function member(text, name) {
  const key = JSON.stringify(name);
  let depth = 0;
  let start = -1;
  let before = "";
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    const opens = token === "{" || token === "[";
    const closes = token === "}" || token === "]";
    if (depth === 1 && start >= 0 && (token === "," || closes)) return text.slice(start, index).trim();
    if (depth === 1 && token === ":" && before === key) start = index + 1;
    depth += Number(opens) - Number(closes);
    before = token;
  }
  return "";
}

// Laid out for reading: on one line if it is short, else a member a line.
export function pretty(text) {
  const line = text.length <= ONE_LINE_CHARACTERS ? layOut(text, space) : "";
  return line && line.length <= ONE_LINE_CHARACTERS ? line : layOut(text, indent);
}

function space(depth, afterComma) {
  return afterComma ? " " : "";
}

function indent(depth) {
  return `\n${"  ".repeat(depth)}`;
}

function layOut(text, gap) {
  let depth = 0;
  let before = "";
  const made = [];
  for (const [token] of text.matchAll(TOKEN)) {
    const closes = token === "}" || token === "]";
    const wasOpened = before === "{" || before === "[";
    if (closes) depth -= 1;
    if (closes ? !wasOpened : wasOpened || before === ",") made.push(gap(depth, before === ","));
    made.push(token === ":" ? ": " : token);
    if (token === "{" || token === "[") depth += 1;
    before = token;
  }
  return made.join("");
}
