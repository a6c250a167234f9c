// The captions: one line an utterance, grey while it grows, replaced in place by its final; sounds as cues.

import { clock, isSpeech, labelParts, setData, setHidden, setText, soundColour, stamp, wall, weight } from "./format.js";
import { soon } from "./frame.js";

const MOST_LINES = 200;
const UNSURE = 0.5;

export class Captions {
  /** list: the <ol>. options: {view, empty, latest, onSeek(stream, seconds)}. */
  constructor(list, { view, empty, latest, onSeek }) {
    Object.assign(this, { list, view, empty, latest });
    this.lines = new Map(); // key -> line, in the order of the page
    this.changed = new Set();
    this.removed = [];
    this.only = null;
    this.many = false;
    this.reason = "";
    this.serial = 0;
    this.words = new WeakMap();
    this.draw = this.draw.bind(this);
    view.addEventListener("scroll", () => setHidden(latest, view.scrollTop > -60), { passive: true });
    latest.addEventListener("click", () => view.scrollTo({ top: 0 }));
    list.addEventListener("click", (click) => {
      const line = click.target.closest(".when") && this.byElement(click.target);
      if (line) onSeek(line.stream, line.start);
    });
  }

  byElement(element) {
    return this.lines.get(element.closest(".line")?.dataset.key);
  }

  line(key, fields) {
    let line = this.lines.get(key);
    if (!line) {
      line = { key, kind: "partial", text: "", stable: "", words: [], element: null, ...fields };
      this.lines.set(key, line);
      if (this.lines.size > MOST_LINES) this.remove(this.lines.keys().next().value);
    }
    this.change(line);
    return line;
  }

  change(line) {
    this.changed.add(line);
    soon(this.draw);
  }

  remove(key) {
    const line = this.lines.get(key);
    if (!line) return;
    this.lines.delete(key);
    this.changed.delete(line);
    if (line.element) this.removed.push(line.element);
    soon(this.draw);
  }

  /** key: unique for the utterance or sound that the event is about. */
  apply(event, key) {
    const { stream, start } = event;
    if (event.type === "speech.started") {
      this.line(key, { stream, start });
    } else if (event.type === "transcript.partial") {
      const line = this.line(key, { stream, start });
      if (line.kind === "partial") Object.assign(line, { text: event.text, stable: event.stable, end: event.end });
    } else if (event.type === "transcript.final") {
      if (!event.text.trim()) return this.remove(key);
      const { text, end, words, language, time, latency_ms: latency } = event;
      Object.assign(this.line(key, { stream, start }), { kind: "final", text, start, end, words, language, time, latency });
    } else if (event.type === "emotion") {
      const line = this.lines.get(key);
      if (line) this.change(Object.assign(line, { emotion: event }));
      else this.line(key, { stream, start, end: event.end, kind: "judged", time: event.time, emotion: event });
    } else if (event.type === "sound.started" && !isSpeech(event.label)) {
      this.line(`sound/${key}`, { stream, start, kind: "cue", text: event.label, time: event.time });
    }
    return undefined;
  }

  /** A line across, between what was before and after. */
  divide(text) {
    for (const line of [...this.lines.values()]) {
      if (line.kind !== "partial") continue;
      if (line.text) Object.assign(line, { kind: "broken" });
      else this.remove(line.key);
      this.change(line);
    }
    this.line(`divider/${(this.serial += 1)}`, { stream: null, start: 0, kind: "divider", text });
  }

  /** Shows one stream's lines only (null: all), with names where there are several. */
  filter(only, many) {
    if (this.only === only && this.many === many) return;
    Object.assign(this, { only, many });
    soon(this.draw);
  }

  /** What to say where no caption is. */
  explain(reason) {
    this.reason = reason;
    soon(this.draw);
  }

  draw() {
    for (const element of this.removed.splice(0)) element.remove();
    const fresh = document.createDocumentFragment();
    for (const line of this.changed) {
      if (this.lines.get(line.key) !== line) continue;
      if (!line.element) {
        line.element = stamp("t-line");
        line.element.dataset.key = line.key;
        if (line.stream !== null) line.element.dataset.stream = line.stream;
        fresh.append(line.element);
      }
      this.fill(line);
    }
    this.changed.clear();
    if (fresh.childNodes.length) this.list.append(fresh);
    let visible = 0;
    for (const line of this.lines.values()) {
      const hidden = this.only !== null && line.stream !== null && line.stream !== this.only;
      setHidden(line.element, hidden);
      visible += hidden ? 0 : 1;
    }
    this.list.classList.toggle("many", this.many && this.only === null);
    setHidden(this.empty, visible > 0);
    setText(this.empty, this.reason);
  }

  fill(line) {
    const { element, kind } = line;
    const text = element.querySelector(".text");
    element.className = `line ${kind}`;
    element.dataset.testid = { partial: "partial", broken: "partial", final: "final", judged: "judged", cue: "sound-cue", divider: "divider" }[kind];
    if (line.stream !== null) {
      const when = element.querySelector(".when");
      setText(when, clock(line.start));
      when.setAttribute("aria-label", `${clock(line.start)}, show on the timeline`);
      setText(element.querySelector(".who"), line.stream);
    }
    text.replaceChildren();
    if (kind === "final") {
      if (/^[a-z]{2,3}$/.test(line.language)) text.lang = line.language;
      this.fillWords(text, line);
      if (line.emotion) text.append(" ", feeling(line.emotion));
    } else if (kind === "judged") {
      text.append(feeling(line.emotion));
    } else if (kind === "cue") {
      const [main, rest] = labelParts(line.text);
      text.append(`[${main}]`, span("cue-who", line.stream));
      text.title = rest ? line.text : "";
      setData(element, "weight", weight(line.text));
      setData(element, "colour", soundColour(line.text));
    } else if (kind === "divider") {
      text.append(line.text);
    } else if (!line.text) {
      text.append(span("waiting", ""));
    } else {
      const known = line.text.startsWith(line.stable) ? line.stable.length : 0;
      text.append(span("stable", line.text.slice(0, known)), span("tail", line.text.slice(known)));
    }
  }

  /** The text is the truth; its words become elements where they are found in it, in order. */
  fillWords(parent, line) {
    let at = 0;
    for (const word of line.words) {
      const plain = word.text.trim();
      const found = plain ? line.text.indexOf(plain, at) : -1;
      if (found < 0) continue;
      if (found > at) parent.append(line.text.slice(at, found));
      const element = span(word.probability < UNSURE ? "word unsure" : "word", plain);
      this.words.set(element, word);
      parent.append(element);
      at = found + plain.length;
    }
    parent.append(line.text.slice(at));
  }

  /** What the tooltip says about an element of a line, or null. */
  describe(target) {
    const word = target.closest(".word");
    if (word) {
      const { text, start, end, probability } = this.words.get(word);
      return { element: word, title: text.trim(), text: `${clock(start, true)} – ${clock(end, true)} · ${Math.round(probability * 100)}% sure` };
    }
    const when = target.closest(".lines .when");
    const line = when && this.byElement(when);
    if (!line) return null;
    const facts = [line.stream, line.end ? `${clock(line.start, true)} – ${clock(line.end, true)}` : clock(line.start, true)];
    if (line.language) facts.push(line.language);
    if (line.latency !== undefined) facts.push(`${Math.round(line.latency)} ms after the end of speech`);
    return { element: when, title: line.time ? `Heard at ${wall(line.time)}` : "Being spoken", text: facts.join(" · ") };
  }
}

/** How an utterance was said: the likeliest class, or every dimension's value; the tooltip has all. */
function feeling({ kind, label, scores }) {
  const all = Object.entries(scores).sort((a, b) => b[1] - a[1]);
  const classes = kind === "classes";
  const told = ([name, score]) => (classes ? `${name} ${Math.round(score * 100)}%` : `${name} ${score.toFixed(2)}`);
  const element = span("emotion", classes ? told([label, scores[label]]) : all.map(told).join(" · "));
  element.dataset.testid = "emotion";
  element.title = `Sounds like: ${all.map(told).join(", ")}`;
  return element;
}

function span(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}
