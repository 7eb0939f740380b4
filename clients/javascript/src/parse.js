// Server-sent events out of bytes: https://html.spec.whatwg.org/multipage/server-sent-events.html

/** Feed it bytes in pieces of any size; it returns the events that are complete. */
export class EventParser {
  #decoder = new TextDecoder(); // drops a byte order mark, and keeps half a character for the next piece
  #rest = "";
  #afterCr = false; // the last piece ended in CR: an LF at the start of the next belongs to it
  #id;
  #type = "";
  #data = [];

  /** @param {string} lastEventId where the reader stands */
  constructor(lastEventId = "") {
    this.lastEventId = lastEventId;
    /** @type {number | null} what the server said last of the wait before a reconnect */
    this.retryMs = null;
    this.#id = lastEventId;
  }

  /**
   * @param {Uint8Array} piece
   * @returns {{type: string, data: string, id: string}[]}
   */
  feed(piece) {
    let text = this.#decoder.decode(piece, { stream: true });
    if (text === "") return [];
    if (this.#afterCr) {
      if (text.startsWith("\n")) text = text.slice(1);
      this.#afterCr = false;
    }
    // Only what is new is searched: a long line that comes in many pieces is not read again with each.
    const lines = text.split(/\r\n|\n|\r/);
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop();
    this.#afterCr = text.endsWith("\r");
    const events = [];
    for (const line of lines) {
      const event = this.#take(line);
      if (event) events.push(event);
    }
    return events;
  }

  #take(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#type = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) this.retryMs = Number(value);
    return null; // a comment begins with a colon, so its field is empty
  }

  #dispatch() {
    this.lastEventId = this.#id;
    const event = { type: this.#type || "message", data: this.#data.join("\n"), id: this.#id };
    const isEmpty = this.#data.length === 0;
    this.#type = "";
    this.#data = [];
    return isEmpty ? null : event;
  }
}
