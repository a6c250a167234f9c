// Sound events as cards, newest first, and as a banner while something urgent goes on.

import { clock, duration, labelParts, setData, setHidden, setText, soundColour, stamp, wall, weight } from "./format.js";
import { soon } from "./frame.js";

const MOST_CARDS = 100;
const MOST_ALERTS = 3;
const LINGER = 12000; // ms that a banner stays after its sound has ended

export class Sounds {
  /** list: the <ol> of cards. options: {alerts, empty, onSeek(stream, seconds), onAlert(label or "")}. */
  constructor(list, { alerts, empty, onSeek, onAlert }) {
    Object.assign(this, { list, alerts, empty, onAlert });
    this.cards = new Map(); // key -> card, oldest first
    this.changed = new Set();
    this.removed = [];
    this.only = null;
    this.many = false;
    this.draw = this.draw.bind(this);
    list.addEventListener("click", (click) => {
      const card = click.target.closest(".when") && this.cards.get(click.target.closest(".sound").dataset.key);
      if (card) onSeek(card.stream, card.start);
    });
  }

  /** Takes sound.started or sound.stopped. `replayed`: told from history, so no banner for what has ended. */
  apply(event, key, replayed) {
    let card = this.cards.get(key);
    if (!card) {
      card = { key, stream: event.stream, label: event.label, time: event.time, since: performance.now(), dismissed: false };
      card.alarming = weight(event.label) === "urgent";
      this.cards.set(key, card);
      if (this.cards.size > MOST_CARDS) this.remove(this.cards.keys().next().value);
    }
    const stopped = event.type === "sound.stopped";
    card.start = event.start;
    card.end = stopped ? event.end : null;
    card.score = Math.max(card.score ?? 0, stopped ? event.peak : event.score);
    if (stopped) card.until = performance.now() + (replayed ? 0 : LINGER);
    this.changed.add(card);
    soon(this.draw);
  }

  remove(key) {
    const card = this.cards.get(key);
    this.cards.delete(key);
    this.changed.delete(card);
    if (card.element) this.removed.push(card.element);
    card.banner?.remove();
  }

  /** Ends what is open where its end will never be told. */
  settle(stream = null) {
    for (const card of this.cards.values()) {
      if (card.end !== null || (stream !== null && card.stream !== stream)) continue;
      Object.assign(card, { end: undefined, until: performance.now() });
      this.changed.add(card);
    }
    soon(this.draw);
  }

  filter(only, many) {
    Object.assign(this, { only, many });
    soon(this.draw);
  }

  /** Once a second: running lengths, banners that have had their time. `position(stream)`: its clock now. */
  tick(position) {
    this.position = position;
    for (const card of this.cards.values()) if (card.end === null) this.changed.add(card);
    if (this.changed.size || this.alerts.childNodes.length) soon(this.draw);
  }

  draw() {
    for (const element of this.removed.splice(0)) element.remove();
    for (const card of this.changed) {
      if (this.cards.get(card.key) !== card) continue;
      if (!card.element) {
        card.element = stamp("t-sound");
        card.element.dataset.key = card.key;
        card.element.dataset.stream = card.stream;
        this.list.prepend(card.element);
      }
      this.fill(card);
    }
    this.changed.clear();
    let visible = 0;
    for (const card of this.cards.values()) {
      const hidden = this.only !== null && card.stream !== this.only;
      setHidden(card.element, hidden);
      visible += hidden ? 0 : 1;
    }
    setHidden(this.empty, visible > 0);
    this.drawAlerts();
  }

  fill(card) {
    const { element } = card;
    const find = (name) => element.querySelector(name);
    const [main, rest] = labelParts(card.label);
    setText(find(".sound-label"), main);
    setText(find(".sound-rest"), rest);
    setText(find(".when"), clock(card.start));
    find(".when").setAttribute("aria-label", `${clock(card.start)}, show on the timeline`);
    find(".when").title = `Heard at ${wall(card.time)}`;
    setText(find(".sound-who"), this.many ? card.stream : "");
    setText(find(".sound-score"), `${Math.round(card.score * 100)}%`);
    setText(find(".sound-long"), card.end === undefined ? "end not heard" : card.end === null ? this.running(card) : duration(card.end - card.start));
    setData(element, "ongoing", String(card.end === null));
    setData(element, "weight", weight(card.label));
    setData(element, "colour", soundColour(card.label));
  }

  running(card) {
    const now = this.position?.(card.stream) ?? card.start;
    return now - card.start >= 1 ? `now, for ${duration(Math.floor(now - card.start)).replace(".0", "")}` : "now";
  }

  drawAlerts() {
    const now = performance.now();
    const all = [...this.cards.values()].filter((card) => card.alarming && !card.dismissed && (card.end === null || card.until > now));
    const shown = all.slice(-MOST_ALERTS);
    for (const card of this.cards.values()) {
      if (card.banner && !shown.includes(card)) {
        card.banner.remove();
        card.banner = null;
      }
    }
    for (const card of shown) {
      if (!card.banner) {
        card.banner = stamp("t-alert");
        card.banner.querySelector("button").addEventListener("click", () => {
          card.dismissed = true;
          this.drawAlerts();
        });
        this.alerts.append(card.banner);
      }
      const [main, rest] = labelParts(card.label);
      setText(card.banner.querySelector("strong"), main);
      const facts = card.end === null ? [rest, card.stream, `since ${wall(card.time)}`] : [card.stream, "ended"];
      setText(card.banner.querySelector("span"), facts.filter(Boolean).join(" · "));
      setData(card.banner, "ongoing", String(card.end === null));
    }
    const ringing = shown.filter((card) => card.end === null);
    this.onAlert(ringing.length ? labelParts(ringing.at(-1).label)[0] : "");
  }
}
