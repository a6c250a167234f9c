// One tooltip for the page: words and times of the captions, things on the timelines. Hover or tap.

import { setHidden, setText } from "./format.js";

export class Tip {
  constructor(element) {
    this.element = element;
    this.title = document.createElement("strong");
    this.text = document.createElement("span");
    element.append(this.title, this.text);
    addEventListener("scroll", () => this.hide(), { passive: true, capture: true });
    addEventListener("keydown", (event) => { if (event.key === "Escape") this.hide(); });
  }

  /** Shows title and text above (or below) a rectangle of the window. */
  show(title, text, box) {
    setText(this.title, title);
    setText(this.text, text);
    setHidden(this.element, false);
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const left = Math.max(8, Math.min(innerWidth - width - 8, box.left + box.width / 2 - width / 2));
    const above = box.top - height - 8;
    const top = above > 8 ? above : Math.min(innerHeight - height - 8, box.bottom + 8);
    this.element.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }

  hide() {
    setHidden(this.element, true);
  }

  /** describe(target) → {element, title, text} or null, for the elements inside `root`. */
  attach(root, describe) {
    const point = (event) => {
      const found = event.target instanceof Element ? describe(event.target) : null;
      if (found) this.show(found.title, found.text, found.element.getBoundingClientRect());
      else this.hide();
    };
    root.addEventListener("pointerover", point);
    root.addEventListener("click", point);
    root.addEventListener("focusin", point);
    root.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") this.hide(); });
  }

  /** The same for a strip's timeline. */
  attachTimeline(timeline, redraw) {
    const { canvas } = timeline;
    const point = (event) => {
      timeline.pointer = event.pointerType === "mouse" ? event.offsetX : undefined;
      const hit = timeline.at(event.offsetX, event.offsetY);
      if (hit) {
        const frame = canvas.getBoundingClientRect();
        const left = frame.left + Math.max(0, hit.left);
        const right = frame.left + Math.min(timeline.width, hit.right);
        this.show(hit.title, hit.text, { left, width: right - left, top: frame.top + hit.top, bottom: frame.top + hit.bottom });
      } else {
        this.hide();
      }
      redraw();
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("click", point);
    canvas.addEventListener("pointerleave", () => {
      timeline.pointer = undefined;
      this.hide();
      redraw();
    });
  }
}
