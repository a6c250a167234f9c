// One stream's strip: its state and pause button, its timeline, and what is heard in it now.

import { labelParts, setData, setHidden, setText, soundColour, stamp } from "./format.js";
import { soon } from "./frame.js";
import { Timeline } from "./timeline.js";

const BARS = 5;
const STALE = 3000; // ms after which tags no longer count as now
const PATIENCE = 5000; // ms that a pause or resume may take before the button can be used again
const FLOOR = -60; // dB at the meter's left end

export class Strip {
  /** onPause(stream, pause) sends the message and returns whether it went out. */
  constructor(stream, onPause) {
    this.stream = stream;
    this.element = stamp("t-strip");
    const find = (name) => this.element.querySelector(name);
    this.parts = {
      name: find(".name"), badge: find(".badge"), state: find(".badge-text"), detail: find(".detail"), lag: find(".lag"),
      passes: find(".passes"), pause: find(".pause"), fill: find(".meter-fill"), peak: find(".meter-peak"), meter: find(".meter"),
      bars: find(".bars"), now: find(".now"), quiet: find(".quiet"), use: find(".pause use"), pauseText: find(".pause span"), chart: find(".chart"),
    };
    this.timeline = new Timeline(find("canvas"));
    this.bars = new Map(); // label -> row
    this.held = FLOOR;
    this.element.dataset.stream = stream.name;
    setText(this.parts.name, stream.name);
    this.parts.name.title = stream.name;
    this.parts.pause.addEventListener("click", () => {
      const pause = stream.state !== "paused";
      if (onPause(stream.name, pause)) {
        stream.pending = pause ? "pausing" : "resuming";
        this.asked = performance.now();
      }
      soon(this.draw);
    });
    this.draw = this.draw.bind(this);
    this.drawLevel = this.drawLevel.bind(this);
    this.drawTags = this.drawTags.bind(this);
    this.draw();
    this.drawTags();
  }

  /** State, figures and button; also once a second for countdowns. */
  draw() {
    const { stream, parts } = this;
    if (stream.pending && performance.now() - this.asked > PATIENCE) stream.pending = "";
    const state = stream.pending || stream.state;
    setData(parts.badge, "state", stream.state);
    setText(parts.state, state);
    const wait = Math.ceil((stream.retryAt - performance.now()) / 1000);
    const retry = stream.retryAt && wait > 0 && stream.state !== "live" ? `next attempt in ${wait} s` : "";
    const detail = [stream.detail, retry].filter(Boolean).join(" · ") || stream.source;
    setText(parts.detail, detail);
    parts.detail.title = [stream.source, stream.detail].filter(Boolean).join("\n");
    const paused = stream.state === "paused";
    const over = stream.state === "ended" || stream.state === "failed";
    parts.pause.disabled = over || Boolean(stream.pending);
    setText(parts.pauseText, paused ? "Resume" : "Pause");
    parts.pause.title = paused ? "Resume" : "Pause";
    parts.pause.setAttribute("aria-label", `${paused ? "Resume" : "Pause"} ${stream.name}`);
    const icon = paused ? "#i-play" : "#i-pause";
    if (parts.use.getAttribute("href") !== icon) parts.use.setAttribute("href", icon);
    if (stream.stats) {
      setText(parts.lag, `${stream.stats.lag.toFixed(1)} s`);
      parts.lag.classList.toggle("late", stream.stats.lag > 3);
      setText(parts.passes, stream.stats.passes_per_second.toFixed(1));
    }
    this.timeline.canvas.setAttribute("aria-label", `Timeline of ${stream.name}: speech and sounds. Arrow keys move, plus and minus zoom, End follows.`);
    const stale = performance.now() - stream.tagsAt > STALE || stream.state !== "live";
    parts.now.classList.toggle("stale", stale);
    setText(parts.quiet, stream.state === "live" ? "Quiet" : "Not listening");
    if (performance.now() - stream.levelAt > 1000) this.meter(FLOOR, FLOOR);
  }

  drawLevel() {
    const { level } = this.stream;
    if (!level) return;
    this.held = Math.max(level.peak_db, this.held - 2);
    this.meter(level.rms_db, this.held);
  }

  meter(rms, peak) {
    const part = (db) => Math.max(0, Math.min(1, 1 - db / FLOOR));
    this.parts.fill.style.transform = `scaleX(${part(rms).toFixed(3)})`;
    this.parts.peak.style.transform = `translateX(${(part(peak) * 100).toFixed(1)}%)`;
    this.parts.meter.classList.toggle("hot", peak > -1);
  }

  /** Rows move to their rank instead of changing their names, so that the eye can follow. */
  drawTags() {
    const tags = [...this.stream.tags].sort((a, b) => b.score - a.score).slice(0, BARS);
    const seen = new Set();
    tags.forEach((tag, rank) => {
      seen.add(tag.label);
      let row = this.bars.get(tag.label);
      if (!row) {
        row = stamp("t-bar");
        const label = row.querySelector(".bar-label");
        label.textContent = labelParts(tag.label)[0];
        label.title = tag.label;
        setData(row, "colour", soundColour(tag.label));
        this.bars.set(tag.label, row);
        this.parts.bars.append(row);
      }
      row.style.setProperty("--rank", String(rank));
      row.querySelector(".bar-fill").style.transform = `scaleX(${tag.score.toFixed(3)})`;
      setText(row.querySelector(".bar-score"), `${Math.round(tag.score * 100)}%`);
    });
    for (const [label, row] of this.bars) {
      if (seen.has(label)) continue;
      row.remove();
      this.bars.delete(label);
    }
    this.parts.now.classList.toggle("stale", performance.now() - this.stream.tagsAt > STALE);
  }

  show(visible) {
    setHidden(this.element, !visible);
  }
}
