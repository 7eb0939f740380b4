// Server-sent events out of text that comes in pieces, as WHATWG HTML section 9.2.6 reads them.

export class EventStreamParser {
  #rest = "";
  #sawReturn = false; // the last piece ended with CR: an LF at the beginning of the next one belongs to it
  #type = "";
  #data = [];
  #lastId = "";
  #onEvent;
  #onRetry;

  // onEvent takes {type, data, lastId}; onRetry takes milliseconds.
  constructor(onEvent, onRetry) {
    this.#onEvent = onEvent;
    this.#onRetry = onRetry;
  }

  push(text) {
    if (text === "") return;
    const piece = this.#sawReturn && text[0] === "\n" ? text.slice(1) : text;
    this.#sawReturn = text.endsWith("\r");
    const lines = (this.#rest + piece).split(/\r\n|\r|\n/);
    this.#rest = lines.pop();
    for (const line of lines) this.#take(line);
  }

  #take(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "event") this.#type = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "id" && !value.includes("\0")) this.#lastId = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#onRetry(Number(value));
  }

  #dispatch() {
    if (this.#data.length > 0) {
      this.#onEvent({ type: this.#type || "message", data: this.#data.join("\n"), lastId: this.#lastId });
    }
    this.#type = "";
    this.#data = [];
  }
}
