// The delivery log as it happens. Attempts are put in a few times a second, however many come; the page keeps the newest
// and says how many came.

const DRAW_MILLISECONDS = 250;
const MOST_ROWS = 50; // as many as a page of the log; all of them are new at each drawing when much comes
const MOST_LIT = 5; // new rows light up for a moment, unless there are so many that it would only flicker
const NAMES = {
  http_error: "HTTP error",
  dns_error: "name not found",
  connect_error: "no connection",
  tls_error: "TLS error",
  blocked_address: "blocked address",
  protocol_error: "protocol error",
  not_accepted: "not accepted",
};

const page = (id) => document.getElementById(id);
const tail = page("tail");
const { base, customers, endpoints } = tail.dataset; // where things are shown; whether customers and endpoints are
let source = null;
let waiting = new Map(); // by delivery: of several attempts of one the last is shown
let seen = 0;
let drawing = 0;

function say(text, state) {
  page("tail-state").textContent = text;
  page("switch").setAttribute("aria-pressed", String(source !== null));
  page("switch").textContent = source ? "Stop" : "Live";
  tail.dataset.state = state;
}

function start() {
  source = new EventSource(tail.dataset.url);
  say("Connecting …", "connecting");
  source.onopen = () => say("Live: attempts appear as they are recorded.", "live");
  source.onerror = () => {
    if (source?.readyState === EventSource.CONNECTING) return say("The connection was cut. Trying again …", "waiting");
    stop("The live view ended. Load the page again to go on.");
  };
  source.addEventListener("attempt", (event) => {
    const row = JSON.parse(event.data);
    waiting.delete(row.id);
    waiting.set(row.id, row);
    if (waiting.size > MOST_ROWS) waiting.delete(waiting.keys().next().value);
    seen += 1;
    if (document.hidden) return; // browsers slow such a page's clocks; it is drawn when somebody looks again
    drawing ||= setTimeout(draw, DRAW_MILLISECONDS);
  });
}

function stop(text = "") {
  source?.close();
  source = null;
  if (waiting.size) draw();
  say(text || (seen ? `Stopped after ${seen.toLocaleString("en")} attempts.` : "Stopped."), "stopped");
}

function draw() {
  clearTimeout(drawing);
  drawing = 0;
  const rows = page("rows");
  const made = [...waiting.values()].reverse();
  waiting = new Map();
  const fresh = new Set(made.map((it) => it.id));
  for (const it of [...rows.children]) if (fresh.has(it.dataset.id)) it.remove();
  rows.prepend(...made.map((it) => row(it, made.length <= MOST_LIT ? "fresh" : ""))); // who is in a row stays in it
  while (rows.childElementCount > MOST_ROWS) rows.lastElementChild.remove();
  page("none")?.remove();
  count();
}

// Beside the words that screen readers tell: a number that changes four times a second would drown them.
function count() {
  const attempts = `${seen.toLocaleString("en")} ${seen === 1 ? "attempt" : "attempts"} so far`;
  page("tail-count").textContent = seen > MOST_ROWS ? `${attempts}; the newest ${MOST_ROWS} are shown.` : `${attempts}.`;
}

function row(it, name) {
  const made = document.createElement("tr");
  made.className = name;
  made.dataset.id = it.id;
  const time = document.createElement("time");
  time.dateTime = it.at;
  time.textContent = it.at.slice(11, 23);
  const status = document.createElement("span");
  status.className = `state ${it.status}`;
  status.textContent = it.status;
  made.append(
    cell("When", "nowrap", time),
    cell("Event", "", link(`${base}/deliveries/${it.id}`, it.type), it.stream ? quiet(` ${it.stream}`) : ""),
    ...(customers === "yes" ? [cell("Customer", "", link(`${base}/workspaces/${it.workspace}`, it.customer))] : []),
    cell("Endpoint", "clip mono", endpointOf(it)),
    cell("Status", "", status),
    cell("Attempt", "", attemptOf(it), it.batch ? quiet(` batch ${it.batch}`) : ""),
    cell("Took", "number", `${it.ms.toLocaleString("en")} ms`),
  );
  return made;
}

function attemptOf({ number, outcome, code }) {
  return `${number}: ${NAMES[outcome] ?? outcome}${code ? ` ${code}` : ""}`;
}

function endpointOf({ url, endpoint }) {
  return url && endpoints === "yes" ? link(`${base}/endpoints/${endpoint}`, url) : url || "deleted";
}

function cell(label, name, ...content) {
  const made = document.createElement("td");
  made.dataset.label = label;
  made.className = name;
  made.append(...content);
  return made;
}

function link(href, text) {
  const made = document.createElement("a");
  made.href = href;
  made.textContent = text;
  return made;
}

function quiet(text) {
  const made = document.createElement("span");
  made.className = "quiet small";
  made.textContent = text;
  return made;
}

page("switch").addEventListener("click", () => (source ? stop() : start()));
addEventListener("visibilitychange", () => document.hidden || !waiting.size || draw());
tail.hidden = false;
