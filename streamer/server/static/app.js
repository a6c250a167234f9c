// Puts the page together: events go into the store and the views, the views draw in animation frames.

import { Captions } from "./captions.js";
import { Connection, socketAddress } from "./connection.js";
import { byId, isSpeech, labelParts, setData, setHidden, setText, weight } from "./format.js";
import { soon } from "./frame.js";
import { Range } from "./range.js";
import { Sounds } from "./sounds.js";
import { Store } from "./store.js";
import { Strip } from "./strip.js";
import { Tip } from "./tip.js";

const OVER = ["ended", "failed"];
const MOST_TOASTS = 3;

const store = new Store();
const strips = new Map();
const tip = new Tip(byId("tip"));
let chosen = null;
let link = { state: "connecting", attempt: 0 };
let lostNotice = "";
let greeted = false;
let drawTimer = 0;

const shown = () => [...strips.values()].filter((strip) => !strip.element.hidden);
const range = new Range(shown, () => soon(drawCharts));
const seek = (stream, seconds) => range.seek(stream, seconds);
const captions = new Captions(byId("captions"), {
  view: byId("captions-view"), empty: byId("captions-empty"), latest: byId("latest"), onSeek: seek,
});
const sounds = new Sounds(byId("sounds"), {
  alerts: byId("alerts"), empty: byId("sounds-empty"), onSeek: seek,
  onAlert: (label) => { document.title = label ? `${label} · streamer` : "streamer"; },
});
tip.attach(byId("captions"), (target) => captions.describe(target));

const connection = new Connection(socketAddress(location.href), {
  status(next) {
    link = { ...next, attempt: next.attempt ?? 0 };
    if (next.state !== "open" && greeted) for (const strip of strips.values()) soon(strip.draw);
    soon(drawStatus);
  },
  hello(event, { restarted, lost }) {
    if (restarted) startOver();
    greeted = true;
    lostNotice = "";
    if (lost) lose();
    store.hello(event);
    setText(byId("model"), event.model);
    byId("model").title = `streamer ${event.version}, model ${event.model}, ${event.labels.length} sounds`;
    if (event.protocol !== 1) toast("This page is older than the daemon: load it again.");
    soon(drawStreams);
    soon(drawStatus);
  },
  event: receive,
});

function startOver() {
  store.restart();
  captions.divide("The daemon was restarted; its clock began anew");
  sounds.settle();
  for (const [name, strip] of strips) drop(name, strip);
}

function drop(name, strip) {
  strip.element.remove();
  sizes.unobserve(strip.parts.chart);
  strips.delete(name);
}

function lose() {
  lostNotice = "The daemon no longer remembers everything from while this page was away: captions and sounds may be missing.";
  captions.divide("Some captions may be missing here");
  soon(drawStatus);
}

function receive(event, replayed) {
  if (event.type === "error") return fault(event, replayed);
  const before = store.streams.size;
  const stream = store.apply(event, replayed);
  if (store.streams.size !== before) soon(drawStreams);
  if (event.type === "stats") {
    for (const name of Object.keys(event.streams)) if (strips.has(name)) soon(strips.get(name).draw);
    soon(drawStatus);
    return undefined;
  }
  if (!stream) return undefined;
  const strip = strips.get(stream.name);
  switch (event.type) {
    case "level":
      if (strip) soon(strip.drawLevel);
      break;
    case "sound.tags":
      if (strip) soon(strip.drawTags);
      break;
    case "stream.state":
      if (OVER.includes(event.state)) sounds.settle(stream.name);
      if (strip) soon(strip.draw);
      soon(drawStatus);
      break;
    case "sound.started":
    case "sound.stopped": {
      const key = store.key(stream, `sound-${event.sound}`);
      sounds.apply(event, key, replayed);
      captions.apply(event, key);
      break;
    }
    default:
      if (event.utterance !== undefined) captions.apply(event, store.key(stream, event.utterance));
  }
  if (!replayed) announce(event);
  soon(drawCharts);
  return undefined;
}

/** Says finals and sounds to a screen reader: once, and nothing of what is only caught up with. */
function announce(event) {
  const from = store.streams.size > 1 ? `${event.stream}: ` : "";
  let text = "";
  if (event.type === "transcript.final") text = event.text;
  else if (event.type === "sound.started" && !isSpeech(event.label)) text = `[${labelParts(event.label)[0]}]`;
  if (!text.trim()) return;
  const region = byId(event.type === "sound.started" && weight(event.label) === "urgent" ? "shout" : "say");
  const line = document.createElement("p");
  line.textContent = from + text;
  region.append(line);
  while (region.childNodes.length > 5) region.firstChild.remove();
}

function fault(event, replayed) {
  if (event.code === "history_lost") {
    if (!lostNotice) lose();
    return;
  }
  const stream = typeof event.stream === "string" ? store.streams.get(event.stream) : null;
  for (const each of stream ? [stream] : store.streams.values()) each.pending = "";
  if (replayed && connection.greetings === 1) return; // from before this page was opened: history, no news
  toast(event.stream ? `${event.stream}: ${event.message}` : event.message);
}

function toast(text) {
  const element = document.createElement("p");
  element.className = "toast";
  element.dataset.testid = "toast";
  element.textContent = text;
  byId("toasts").append(element);
  while (byId("toasts").childNodes.length > MOST_TOASTS) byId("toasts").firstChild.remove();
  setTimeout(() => element.remove(), 12000);
}

function pause(name, wanted) {
  const sent = connection.send({ type: wanted ? "pause" : "resume", stream: name });
  if (!sent) toast(`Not connected: ${name} could not be ${wanted ? "paused" : "resumed"}.`);
  return sent;
}

function pick() {
  const button = document.createElement("button");
  button.type = "button";
  button.addEventListener("click", () => {
    chosen = button.pick;
    drawStreams();
  });
  return button;
}

/** Strips and selector follow the set of streams. */
function drawStreams() {
  for (const [name, strip] of strips) {
    if (store.streams.get(name) !== strip.stream) drop(name, strip);
  }
  for (const [name, stream] of store.streams) {
    if (strips.has(name)) continue;
    const strip = new Strip(stream, pause);
    strips.set(name, strip);
    byId("streams").append(strip.element);
    sizes.observe(strip.parts.chart);
    range.listen(strip);
    tip.attachTimeline(strip.timeline, () => soon(drawCharts));
  }
  if (chosen !== null && !store.streams.has(chosen)) chosen = null;
  const picker = byId("picker");
  const names = [null, ...store.streams.keys()];
  while (picker.childNodes.length > names.length) picker.lastChild.remove();
  names.forEach((name, index) => {
    const button = picker.childNodes[index] ?? picker.appendChild(pick());
    button.pick = name;
    setText(button, name ?? "All");
    button.setAttribute("aria-pressed", String(name === chosen));
  });
  const many = store.streams.size > 1;
  setHidden(picker, !many);
  captions.filter(chosen, many);
  sounds.filter(chosen, many);
  for (const [name, strip] of strips) strip.show(chosen === null || name === chosen);
  setData(byId("streams"), "count", String(Math.min(3, shown().length)));
  soon(drawCharts);
}

/** Connection, and plainly what is wrong if something is. */
function drawStatus() {
  const wait = link.state === "waiting" ? Math.max(0, Math.ceil((link.retryAt - Date.now()) / 1000)) : 0;
  const words = { open: "Connected", connecting: greeted ? "Reconnecting" : "Connecting", loading: "Waiting for the model", waiting: "Disconnected" };
  setData(byId("link"), "state", link.state);
  setText(byId("link").querySelector(".link-text"), words[link.state]);
  document.body.classList.toggle("offline", link.state !== "open" && greeted);

  const names = [...store.streams.values()];
  const working = names.filter((stream) => !OVER.includes(stream.state));
  let notice = "";
  if (link.state === "waiting" || (link.state === "connecting" && link.attempt > 0)) {
    const what = greeted ? "The connection to the daemon is lost. What you see is not live." : "The daemon does not answer.";
    const token = greeted ? "" : " Is it running, and is the token in this page's address right?";
    notice = `${link.refused ? "The daemon refuses this page. Check the token in its address." : what + token} ${wait > 0 ? `Trying again in ${wait} s.` : "Trying again now."}`;
  } else if (link.state === "open" && names.length === 0) {
    notice = "Nothing is listening: the daemon has no streams.";
  } else if (link.state === "open" && working.length === 0) {
    notice = names.some((stream) => stream.state === "failed")
      ? "Nothing is listening: every stream has failed or ended." : "Nothing is listening: every stream has ended.";
  } else if (link.state === "open" && working.every((stream) => stream.state === "paused")) {
    notice = working.length === 1 ? "Nothing is listening: the stream is paused." : "Nothing is listening: every stream is paused.";
  } else if (lostNotice) {
    notice = lostNotice;
  }
  setHidden(byId("notice"), !notice);
  setText(byId("notice").querySelector(".notice-text"), notice);
  setHidden(byId("retry"), link.state === "open");
  const quiet = working.some((stream) => stream.state === "live") ? "Listening. Nothing has been said yet." : "Waiting for a stream to go live.";
  const otherwise = link.state === "loading" ? "Connected. The daemon is loading its model; captions begin when it is ready." : "Not connected.";
  captions.explain(link.state === "open" ? (working.length ? quiet : "No captions.") : otherwise);
}

const sizes = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const strip = [...strips.values()].find((s) => s.parts.chart === entry.target);
    strip?.timeline.resize(Math.floor(entry.contentRect.width), Math.floor(entry.contentRect.height), devicePixelRatio);
  }
  soon(drawCharts);
});

const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** Draws the timelines, and comes back when the picture will have moved by a pixel, as long as something moves. */
function drawCharts() {
  clearTimeout(drawTimer);
  const now = performance.now();
  let narrowest = Infinity;
  let moving = false;
  for (const strip of shown()) {
    strip.timeline.draw(strip.stream, range.span, now);
    if (strip.stream.moving && link.state === "open") {
      moving = true;
      narrowest = Math.min(narrowest, (1000 * range.span) / Math.max(1, strip.timeline.width * devicePixelRatio));
    }
  }
  setText(byId("span"), range.text);
  setHidden(byId("live"), range.following);
  if (moving && !document.hidden) drawTimer = setTimeout(() => soon(drawCharts), calm.matches ? 500 : Math.max(40, narrowest));
}

byId("retry").addEventListener("click", () => connection.retry());
byId("live").addEventListener("click", () => range.follow());
byId("in").addEventListener("click", () => range.step(-1));
byId("out").addEventListener("click", () => range.step(1));
addEventListener("themechange", () => soon(drawCharts));
document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(drawCharts); });
setInterval(() => {
  if (document.hidden) return;
  soon(drawStatus);
  for (const strip of strips.values()) soon(strip.draw);
  sounds.tick((name) => store.streams.get(name)?.position);
}, 1000);

soon(drawCharts);
connection.open();
