// One canvas a stream: spectrogram, utterances and sounds on one clock, gaps hatched.

import { clock, duration, isSpeech, labelParts, soundColour, weight } from "./format.js";

const AXIS = 18;
const SPEECH = 26;
const LANE = 18;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
const FONT_SIZE = "12px";

let palette = null;

/** Colours come from the style sheet; read once a theme. */
function colours() {
  const theme = document.documentElement.dataset.theme;
  if (palette?.theme === theme) return palette;
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  palette = { theme, hatch: null, font: `${FONT_SIZE} ${read("sans")}` };
  for (const name of ["ink", "soft", "faint", "line", "inset", "speech", "speech-open", "speech-line", "gap"]) palette[name] = read(name);
  for (const name of ["urgent", "notice", "voice", ...Array.from({ length: 6 }, (_, i) => `tint-${i}`)]) {
    palette[name] = { edge: read(name), fill: read(`${name}-fill`) };
  }
  return palette;
}

function hatch(context, palette, ratio) {
  if (palette.hatch?.ratio === ratio) return palette.hatch.pattern;
  const tile = document.createElement("canvas");
  tile.width = tile.height = Math.round(8 * ratio);
  const c = tile.getContext("2d");
  c.strokeStyle = palette.gap;
  c.lineWidth = 1.5 * ratio;
  const n = tile.width;
  c.beginPath();
  for (const k of [-n, 0, n]) {
    c.moveTo(k, n);
    c.lineTo(k + n, 0);
  }
  c.stroke();
  const pattern = context.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(1 / ratio));
  palette.hatch = { ratio, pattern };
  return pattern;
}

export class Timeline {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.width = 0;
    this.height = 0;
    this.lanes = 3;
    this.right = null; // seconds at the right edge while looking back, null: follow
    this.widths = new Map();
    this.packed = { scale: 0, ends: [], lanes: new WeakMap() };
    this.hits = [];
  }

  resize(width, height, ratio) {
    Object.assign(this, { width, height, ratio, lanes: height < 130 ? 2 : 3 });
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
  }

  draw(stream, span, now) {
    const { context: c, width, height } = this;
    if (!width) return;
    const edge = stream.tick(now);
    const to = this.right ?? Math.max(edge, span * 0.02);
    const from = to - span;
    const scale = width / span;
    const x = (seconds) => (seconds - from) * scale;
    const p = colours();
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = p.font;
    c.textBaseline = "middle";
    this.hits = [];
    const laneTop = height - AXIS - this.lanes * LANE - 1;
    const speechTop = laneTop - SPEECH - 4;
    this.drawAxis(x, from, to, span, p);
    c.fillStyle = p.inset;
    const left = Math.max(0, x(0));
    c.fillRect(left, 0, Math.max(0, Math.min(width, x(edge)) - left), speechTop - 3);
    c.imageSmoothingEnabled = true;
    stream.spectrogram.draw(c, from, to, (s) => Math.round(x(s) * this.ratio) / this.ratio, 1, speechTop - 5, p.theme);
    this.drawSpeech(stream, x, from, to, span, edge, speechTop, p);
    this.drawSounds(stream, x, edge, scale, laneTop, p);
    this.drawGaps(stream, x, from, to, height - AXIS, p);
    if (x(edge) < width - 1) this.rule(x(edge), p.faint);
    if (this.pointer !== undefined) this.rule(this.pointer, p.soft);
  }

  rule(x, colour) {
    this.context.fillStyle = colour;
    this.context.fillRect(Math.round(x), 0, 1, this.height - AXIS);
  }

  drawAxis(x, from, to, span, p) {
    const { context: c, width, height } = this;
    const step = STEPS.find((s) => (s / span) * width >= 72) ?? 600;
    c.textAlign = "center";
    for (let t = Math.max(0, Math.ceil(from / step) * step); t <= to; t += step) {
      const at = Math.round(x(t));
      c.fillStyle = p.line;
      c.fillRect(at, 0, 1, height - AXIS + 3);
      if (at < 18 || at > width - 18) continue;
      c.fillStyle = p.soft;
      c.fillText(clock(t), at, height - 7);
    }
    c.fillStyle = p.line;
    c.fillRect(0, height - AXIS, width, 1);
    c.textAlign = "left";
  }

  box(left, top, width, height, radius, fill) {
    const c = this.context;
    c.beginPath();
    c.roundRect(left, top, Math.max(2, width), height, radius);
    c.fillStyle = fill;
    c.fill();
  }

  label(text, left, right, middle, colour) {
    const c = this.context;
    if (right - left < 14) return;
    c.save();
    c.beginPath();
    c.rect(left, middle - 12, right - left, 24);
    c.clip();
    c.fillStyle = colour;
    c.fillText(text, left, middle + 0.5);
    c.restore();
  }

  drawSpeech(stream, x, from, to, span, edge, top, p) {
    for (const [index, utterance] of stream.utterances.entries()) {
      const end = utterance.end ?? Math.max(edge, utterance.start);
      if (end < from - span || utterance.start > to) continue;
      const left = x(utterance.start);
      const right = x(end);
      const empty = utterance.final && !utterance.text.trim();
      this.box(left, top, right - left - 1, SPEECH, 5, utterance.final && !empty ? p.speech : p["speech-open"]);
      if (!empty) this.box(left, top, 2.5, SPEECH, 1, p["speech-line"]);
      const text = empty ? "" : utterance.text;
      // A short block's words may run on over the silence after it.
      const room = index + 1 < stream.utterances.length ? x(stream.utterances[index + 1].start) - 5 : this.width;
      if (room > 0) this.label(text, right > 90 ? Math.max(left, 0) + 8 : left + 8, Math.min(room, this.width), top + SPEECH / 2, utterance.final ? p.ink : p.soft);
      this.hits.push({ left, right, top, bottom: top + SPEECH, title: text || (empty ? "Speech without words" : "Speech"), text: range(utterance, end) });
    }
  }

  lane(sound, scale) {
    // A lane is chosen once for each sound and zoom, over all that is kept: nothing jumps while it scrolls.
    const { packed } = this;
    if (packed.scale !== scale || packed.ends.length !== this.lanes) Object.assign(packed, { scale, ends: Array(this.lanes).fill(null), lanes: new WeakMap() });
    let lane = packed.lanes.get(sound);
    if (lane === undefined) {
      const free = packed.ends.findIndex((last) => last === null || this.extent(last, scale) <= sound.start * scale);
      lane = free >= 0 ? { row: free, crowded: false } : { row: this.lanes - 1, crowded: true };
      packed.lanes.set(sound, lane);
      if (free >= 0) packed.ends[free] = sound;
    }
    return lane;
  }

  /** Where a sound's bar and name end, in pixels of the stream's clock. */
  extent(sound, scale) {
    if (sound.end === null) return Infinity;
    return Math.max(sound.end * scale, sound.start * scale + this.textWidth(labelParts(sound.label)[0]) + 14) + 6;
  }

  textWidth(text) {
    let width = this.widths.get(text);
    if (width === undefined) {
      if (this.widths.size > 600) this.widths.clear();
      width = this.context.measureText(text).width;
      this.widths.set(text, width);
    }
    return width;
  }

  drawSounds(stream, x, edge, scale, top, p) {
    const c = this.context;
    // The words show speech already; without words (sounds only) it is a sound like others.
    const sounds = stream.utterances.length ? stream.sounds.filter((sound) => !isSpeech(sound.label)) : stream.sounds;
    const urgent = (sound) => weight(sound.label) === "urgent";
    // What is urgent comes last, over the others, and never without its name.
    for (const sound of [...sounds.filter((s) => !urgent(s)), ...sounds.filter(urgent)]) {
      const lane = this.lane(sound, scale);
      const crowded = lane.crowded && !urgent(sound);
      const row = lane.crowded && !crowded ? 0 : lane.row;
      const end = sound.end ?? Math.max(edge, sound.start);
      const left = x(sound.start);
      const right = x(end);
      const [main] = labelParts(sound.label);
      const reach = crowded ? right : Math.max(right, left + this.textWidth(main) + 14);
      if (reach < 0 || left > this.width) continue;
      const colour = p[soundColour(sound.label)];
      const y = top + row * LANE;
      if (crowded) {
        this.box(left, y + LANE - 4, right - left - 1, 2, 1, colour.edge);
      } else {
        const width = (lane.crowded ? reach : right) - left - 1;
        this.box(left, y, width, LANE - 3, 4, colour.fill);
        this.box(left, y, 3, LANE - 3, 1.5, colour.edge);
        c.fillStyle = p.ink;
        c.fillText(main, right > 60 ? Math.max(left, 0) + 8 : left + 8, y + (LANE - 3) / 2 + 0.5);
      }
      this.hits.push({ left, right: Math.max(right, left + 6), top: y, bottom: y + LANE, title: sound.label, text: `${range(sound, end)} · ${Math.round(sound.score * 100)}%` });
    }
  }

  drawGaps(stream, x, from, to, bottom, p) {
    const c = this.context;
    for (const gap of stream.gaps) {
      if (gap.end < from || gap.start > to) continue;
      const left = x(gap.start);
      const width = Math.max(3, x(gap.end) - left);
      c.fillStyle = p.inset;
      c.fillRect(left, 0, width, bottom);
      c.fillStyle = hatch(c, p, this.ratio);
      c.fillRect(left, 0, width, bottom);
      const title = `No audio: ${gap.reason.replaceAll("_", " ")}`;
      const length = duration(gap.end - gap.start);
      const text = [`${gap.reason.replaceAll("_", " ")} ${length}`, length].find((t) => this.textWidth(t) + 20 < width);
      if (text) {
        const wide = this.textWidth(text) + 12;
        const at = left + (width - wide) / 2;
        this.box(at, 8, wide, 20, 5, p.inset);
        c.fillStyle = p.soft;
        c.fillText(text, at + 6, 18.5);
      }
      this.hits.push({ left, right: left + width, top: 0, bottom, title, text: range(gap, gap.end) });
    }
  }

  /** What lies under a point of the canvas, for the tooltip. */
  at(x, y) {
    return this.hits.findLast((hit) => x >= hit.left && x <= hit.right && y >= hit.top && y <= hit.bottom) ?? null;
  }
}

function range(item, end) {
  return `${clock(item.start, true)} – ${item.end === null ? "now" : clock(item.end, true)} · ${duration(Math.max(0, end - item.start))}`;
}
