// The websocket: reconnects by itself, catches up from the last sequence number, never shows an event twice.

const ALWAYS = [
  "stream.state", "stream.gap", "speech.started", "speech.stopped", "transcript.final", "emotion",
  "sound.started", "sound.stopped", "stats", "error",
];
const WATCHED = [...ALWAYS, "transcript.partial", "sound.tags", "level"];
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15000;
const PATIENCE = 300; // ms from the connection to hello, after which it is told that the daemon is still loading
const MUTE = 20000; // stats come every second: without any message for this long the connection is dead

/** Where the websocket is, next to the page, with the page's own token. */
export function socketAddress(page) {
  const url = new URL("ws", page);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = "";
  url.hash = "";
  const token = new URL(page).searchParams.get("token");
  if (token) url.searchParams.set("token", token);
  return url.href;
}

export class Connection {
  /**
   * handlers: status({state, retryAt, attempt}), hello(event, {restarted, lost}), event(event, replayed).
   * state: connecting, loading (connected, but hello waits for the daemon's model), open, waiting (for the next attempt).
   * restarted: another run of the daemon; lost: it no longer remembers all that was missed.
   */
  constructor(address, handlers) {
    this.address = address;
    this.handlers = handlers;
    this.socket = null;
    this.lastSeq = 0;
    this.liveFrom = 0;
    this.attempt = 0;
    this.timer = 0;
    this.instance = "";
    this.greetings = 0;
    this.told = false;
    this.heard = 0;
    this.hasStats = false;
    setInterval(() => this.watch(), 5000);
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => this.visibility());
  }

  open() {
    clearTimeout(this.timer);
    this.handlers.status({ state: "connecting", attempt: this.attempt });
    const socket = new WebSocket(this.subscription());
    this.socket = socket;
    let greeted = false;
    socket.onopen = () => {
      if (socket !== this.socket) return;
      this.timer = setTimeout(() => this.handlers.status({ state: "loading", attempt: this.attempt }), PATIENCE);
    };
    socket.onmessage = (message) => {
      if (socket !== this.socket) return;
      this.heard = performance.now();
      let event;
      try {
        event = JSON.parse(message.data);
      } catch {
        return;
      }
      if (event.type === "hello") {
        greeted = true;
        this.hello(event);
      } else {
        this.receive(event);
      }
    };
    socket.onclose = (close) => {
      if (socket !== this.socket) return;
      this.socket = null;
      this.later(greeted, close);
    };
  }

  /** Connects now instead of waiting for the next attempt. */
  retry() {
    if (!this.socket) this.open();
  }

  send(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  hello(event) {
    clearTimeout(this.timer);
    // An answer alone does not prove health: only a connection that lasts resets the backoff.
    this.timer = setTimeout(() => { this.attempt = 0; }, 3000);
    const instance = event.instance ?? "";
    const other = instance && this.instance ? instance !== this.instance : event.last_seq < this.lastSeq;
    const restarted = this.greetings > 0 && other;
    this.instance = instance;
    this.greetings += 1;
    if (restarted) this.lastSeq = 0;
    const lost = this.lastSeq > 0 && event.oldest_seq - 1 > this.lastSeq;
    // The daemon tells of lost history too. A first visit has lost nothing, and the rest is said below.
    this.told = this.lastSeq === 0 || lost;
    this.liveFrom = event.last_seq;
    this.hasStats = false;
    this.handlers.status({ state: "open", attempt: this.attempt });
    this.handlers.hello(event, { restarted, lost });
  }

  /** What to get is part of the address: nothing can arrive before it is known what was missed. */
  subscription() {
    const url = new URL(this.address);
    url.searchParams.set("types", (document.hidden ? ALWAYS : WATCHED).join(","));
    url.searchParams.set("since", String(this.lastSeq));
    if (this.instance) url.searchParams.set("instance", this.instance);
    return url.href;
  }

  receive(event) {
    if (event.seq > 0) {
      if (event.seq <= this.lastSeq) return;
      this.lastSeq = event.seq;
    }
    if (event.type === "stats") this.hasStats = true;
    if (event.type === "error" && event.code === "history_lost" && this.told) {
      this.told = false;
      return;
    }
    this.handlers.event(event, event.seq > 0 && event.seq <= this.liveFrom);
  }

  later(greeted, close) {
    clearTimeout(this.timer);
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.attempt) * (0.8 + 0.4 * Math.random());
    this.attempt += 1;
    this.timer = setTimeout(() => this.open(), wait);
    const refused = [1008, 4001, 4003, 4401, 4403].includes(close.code);
    this.handlers.status({ state: "waiting", retryAt: Date.now() + wait, attempt: this.attempt, greeted, refused });
  }

  watch() {
    if (this.socket && this.hasStats && performance.now() - this.heard > MUTE) {
      const socket = this.socket;
      this.socket = null;
      socket.close();
      this.later(true, { code: 1006 });
    }
  }

  /** A hidden page needs neither levels nor partials. What it may not miss it goes on collecting. */
  visibility() {
    if (!document.hidden && !this.socket) this.open();
    else this.send({ type: "subscribe", types: document.hidden ? ALWAYS : WATCHED });
  }
}
