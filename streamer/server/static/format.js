// Times, labels and small DOM helpers. Everything untrusted enters the page through textContent.

/** Seconds of a stream's clock as m:ss or h:mm:ss. */
export function clock(seconds, tenths = false) {
  const t = Math.max(0, tenths ? Math.floor(seconds * 10 + 1e-6) / 10 : Math.floor(seconds + 1e-6));
  const h = Math.floor(t / 3600);
  const m = Math.floor(t / 60) % 60;
  const s = (tenths ? (t % 60).toFixed(1) : String(Math.floor(t % 60))).padStart(tenths ? 4 : 2, "0");
  return h ? `${h}:${String(m).padStart(2, "0")}:${s}` : `${m}:${s}`;
}

/** A length of time in words short enough for a card. */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** Unix seconds as the local time of day. */
export function wall(time) {
  return time > 0 ? new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" }) : "";
}

/** AudioSet names carry synonyms after a comma: ["Smoke detector", "smoke alarm"]. */
export function labelParts(label) {
  const at = label.indexOf(", ");
  return at > 0 ? [label.slice(0, at), label.slice(at + 2)] : [label, ""];
}

const URGENT = /smoke|fire alarm|siren|gunshot|gunfire|explosion|scream|shatter|breaking|glass|emergency vehicle|fire engine/i;
const NOTICE = /alarm|doorbell|ding-dong|knock|baby cry|infant cry|telephone|ringtone|buzzer|beep|crying/i;
const SPEECH = /speech|narration|monologue|conversation|speaking|^(inside|outside),|^silence$/i;

/** "urgent" for what may mean danger, "notice" for what calls a person, "" for the rest. */
export function weight(label) {
  return URGENT.test(label) ? "urgent" : NOTICE.test(label) ? "notice" : "";
}

/** Whether a sound is told by the words already, so that captions need no cue for it. */
export function isSpeech(label) {
  return SPEECH.test(label);
}

const TINTS = 6;
/** A number 0–5: the same label always has the same colour. */
export function tint(label) {
  let hash = 2166136261;
  for (let i = 0; i < label.length; i++) hash = Math.imul(hash ^ label.charCodeAt(i), 16777619);
  return (hash >>> 0) % TINTS;
}

/** The key of a label's colour in the palette. */
export function soundColour(label) {
  return weight(label) || (isSpeech(label) ? "voice" : `tint-${tint(label)}`);
}

export const byId = (id) => document.getElementById(id);

/** A fresh copy of a template's only element. */
export function stamp(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

/** Sets text only where it differs: a needless write costs a layout. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

export function setData(element, key, value) {
  if (element.dataset[key] !== value) element.dataset[key] = value;
}
