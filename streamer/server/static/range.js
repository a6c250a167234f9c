// Which part of the streams' clocks the timelines show: the same length for all, following or looking back.

import { KEEP } from "./store.js";

const SPANS = [15, 30, 60, 120, 300, 600, 1800];

export class Range {
  /** strips(): the strips shown, each {stream, timeline}. changed(): draw again. */
  constructor(strips, changed) {
    Object.assign(this, { strips, changed });
    this.span = innerWidth < 600 ? 30 : 60;
  }

  get following() {
    return this.strips().every((strip) => strip.timeline.right === null);
  }

  get text() {
    return this.span < 60 ? `${Math.round(this.span)} s` : `${+(this.span / 60).toFixed(1)} min`;
  }

  follow() {
    for (const strip of this.strips()) strip.timeline.right = null;
    this.changed();
  }

  /** Moves every timeline by seconds; at the newest end it follows again. */
  pan(seconds) {
    for (const { stream, timeline } of this.strips()) {
      const right = (timeline.right ?? stream.shown) + seconds;
      const oldest = Math.max(0, stream.position - KEEP) + this.span * 0.5;
      timeline.right = right >= stream.shown - 0.05 ? null : Math.max(Math.min(oldest, stream.shown), right);
    }
    this.changed();
  }

  /** The next longer (+1) or shorter (-1) of the fixed lengths. */
  step(direction) {
    const next = direction > 0 ? SPANS.find((s) => s > this.span + 0.5) : SPANS.findLast((s) => s < this.span - 0.5);
    if (next) this.zoom(next, 1);
  }

  /** Shows `span` seconds, keeping the moment at `fraction` of the width where it is. */
  zoom(span, fraction) {
    const next = Math.max(SPANS[0], Math.min(SPANS.at(-1), span));
    const shift = (1 - fraction) * (next - this.span);
    this.span = next;
    if (this.following) this.changed();
    else this.pan(shift);
  }

  /** Looks at one moment of one stream; the others follow by as much. */
  seek(stream, seconds) {
    const strip = this.strips().find((s) => s.stream.name === stream);
    if (!strip) return;
    const current = strip.timeline.right ?? strip.stream.shown;
    if (seconds > current - this.span * 0.92 && seconds < current) return;
    this.pan(seconds + this.span * 0.6 - current);
  }

  /** Drag, pinch, wheel and keys on a strip's canvas. Vertical scrolling stays the page's. */
  listen(strip) {
    const { canvas } = strip.timeline;
    const pointers = new Map();
    const perPixel = () => this.span / Math.max(1, strip.timeline.width);
    canvas.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, event.clientX);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!pointers.has(event.pointerId)) return;
      const before = [...pointers.values()];
      pointers.set(event.pointerId, event.clientX);
      const after = [...pointers.values()];
      if (after.length === 1) {
        this.pan((before[0] - after[0]) * perPixel());
      } else if (after.length === 2) {
        const ratio = Math.abs(before[0] - before[1]) / Math.max(8, Math.abs(after[0] - after[1]));
        this.zoom(this.span * ratio, ((after[0] + after[1]) / 2 - canvas.getBoundingClientRect().left) / strip.timeline.width);
      }
    });
    const lift = (event) => pointers.delete(event.pointerId);
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        this.zoom(this.span * Math.exp(event.deltaY * 0.005), event.offsetX / strip.timeline.width);
      } else {
        const across = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
        if (Math.abs(across) <= Math.abs(event.deltaY) && !event.shiftKey) return;
        event.preventDefault();
        this.pan(across * perPixel());
      }
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const act = {
        ArrowLeft: () => this.pan(-this.span / 10), ArrowRight: () => this.pan(this.span / 10),
        PageUp: () => this.pan(-this.span), PageDown: () => this.pan(this.span), End: () => this.follow(),
        Home: () => this.pan(-KEEP), "+": () => this.step(-1), "=": () => this.step(-1), "-": () => this.step(1),
      }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
  }
}
