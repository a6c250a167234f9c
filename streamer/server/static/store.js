// What is known about every stream, bounded: 30 minutes, and a fixed number of each kind.

import { Spectrogram } from "./spectrogram.js";

export const KEEP = 1800; // seconds of a stream's clock
const MOST = 1000; // utterances, sounds and gaps of one stream, each
const MOST_STREAMS = 16; // beyond that, those that have ended and that the daemon has forgotten go

class Stream {
  constructor(name) {
    this.name = name;
    this.state = "connecting";
    this.source = "";
    this.detail = "";
    this.retryAt = 0;
    this.stats = null;
    this.run = 0;
    this.pending = "";
    this.clear();
  }

  clear() {
    this.position = 0;
    this.shown = 0;
    this.advanced = performance.now();
    this.utterances = [];
    this.sounds = [];
    this.gaps = [];
    this.tags = [];
    this.tagsAt = 0;
    this.level = null;
    this.levelAt = 0;
    this.spectrogram = new Spectrogram(KEEP);
  }

  /** The newest moment of this stream's clock that any event has told of. */
  reach(seconds) {
    if (seconds > this.position) {
      this.position = seconds;
      this.advanced = performance.now();
    }
  }

  get moving() {
    return this.state === "live" && performance.now() - this.advanced < 2500;
  }

  /** A clock for drawing: runs smoothly at real time, stays close to `position`, stops where the stream stops. */
  tick(now) {
    const dt = Math.min(1, Math.max(0, (now - (this.ticked ?? now)) / 1000));
    this.ticked = now;
    const behind = this.position - this.shown;
    if (Math.abs(behind) > 2) this.shown = this.position;
    else if (this.moving) this.shown += Math.max(0, dt + behind * Math.min(1, dt * 2));
    else if (behind > 0) this.shown = this.position;
    this.shown = Math.min(this.shown, this.position + 0.5);
    return this.shown;
  }
}

function keep(list, item, oldest) {
  list.push(item);
  while (list.length > MOST || (list.length > 1 && (list[0].end ?? Infinity) < oldest)) list.shift();
}

function latest(list, key, value) {
  for (let i = list.length - 1; i >= 0; i--) if (list[i][key] === value) return list[i];
  return undefined;
}

export class Store {
  constructor() {
    this.streams = new Map();
    this.present = new Set(); // names of the streams that the daemon has, as it said last
    this.restarts = 0;
  }

  stream(name) {
    let stream = this.streams.get(name);
    if (!stream) {
      stream = new Stream(name);
      this.streams.set(name, stream);
      if (this.streams.size > MOST_STREAMS) this.evict(name);
    }
    return stream;
  }

  evict(newest) {
    // Any other would be back with the next second's statistics, without its past.
    const gone = ([name, { state }]) => name !== newest && !this.present.has(name) && ["ended", "failed"].includes(state);
    const found = [...this.streams].find(gone);
    if (found) this.streams.delete(found[0]);
  }

  /** The daemon began anew: its clocks and numbers start again. */
  restart() {
    this.restarts += 1;
    this.streams.clear();
  }

  hello(event) {
    this.present = new Set(Object.keys(event.streams));
    // What changed while this page was away follows as events; only new streams take their state from here.
    for (const [name, state] of Object.entries(event.streams)) {
      if (!this.streams.has(name)) this.stream(name).state = state;
    }
    for (const [name, stream] of this.streams) {
      if (!(name in event.streams) && stream.state !== "failed") stream.state = "ended";
    }
  }

  /** A key that no other utterance has, across restarts of the daemon and of the stream. */
  key(stream, number) {
    return `${this.restarts}/${stream.run}/${number}/${stream.name}`;
  }

  /** Takes one event in and returns the stream it belongs to, if any. */
  apply(event, replayed) {
    if (event.type === "stats") {
      this.present = new Set(Object.keys(event.streams));
      for (const [name, stats] of Object.entries(event.streams)) {
        const stream = this.stream(name);
        stream.stats = stats;
        stream.reach(stats.position);
        this.state(stream, stats.state);
      }
      return null;
    }
    if (typeof event.stream !== "string") return null;
    const stream = this.stream(event.stream);
    if (event.end !== undefined) stream.reach(event.end);
    else if (event.start !== undefined) stream.reach(event.start);
    APPLY[event.type]?.(this, stream, event, replayed);
    return stream;
  }

  state(stream, state) {
    if (stream.state === "ended" && (state === "connecting" || state === "live")) {
      stream.run += 1;
      stream.clear();
    }
    if (stream.state !== state) stream.pending = "";
    stream.state = state;
  }
}

function open(stream, event) {
  let utterance = latest(stream.utterances, "number", event.utterance);
  if (!utterance) {
    utterance = { number: event.utterance, start: event.start, end: null, text: "", final: false, reason: "" };
    keep(stream.utterances, utterance, stream.position - KEEP);
  }
  return utterance;
}

const APPLY = {
  "stream.state"(store, stream, event, replayed) {
    store.state(stream, event.state);
    stream.source = event.source;
    stream.detail = event.detail;
    // Relative to the moment of arrival: the daemon's wall clock may differ from ours. What is replayed is old.
    const age = replayed ? Math.max(0, Date.now() - event.time * 1000) : 0;
    stream.retryAt = event.retry_in == null ? 0 : performance.now() + event.retry_in * 1000 - age;
  },
  "stream.gap"(store, stream, event) {
    keep(stream.gaps, { start: event.start, end: event.end, reason: event.reason }, stream.position - KEEP);
  },
  "speech.started"(store, stream, event) {
    open(stream, event);
  },
  "speech.stopped"(store, stream, event) {
    const utterance = open(stream, event);
    utterance.end = event.end;
    utterance.reason = event.reason;
  },
  "transcript.partial"(store, stream, event) {
    const utterance = open(stream, event);
    if (!utterance.final) utterance.text = event.text;
  },
  "transcript.final"(store, stream, event) {
    const utterance = open(stream, event);
    Object.assign(utterance, { start: event.start, end: event.end, text: event.text, final: true });
  },
  "sound.tags"(store, stream, event) {
    stream.tags = event.tags;
    stream.tagsAt = performance.now();
  },
  "sound.started"(store, stream, event) {
    if (latest(stream.sounds, "number", event.sound)) return;
    const sound = { number: event.sound, label: event.label, start: event.start, end: null, score: event.score };
    keep(stream.sounds, sound, stream.position - KEEP);
  },
  "sound.stopped"(store, stream, event) {
    let sound = latest(stream.sounds, "number", event.sound);
    if (!sound) {
      sound = { number: event.sound, label: event.label };
      keep(stream.sounds, sound, stream.position - KEEP);
    }
    Object.assign(sound, { start: event.start, end: event.end, score: event.peak });
  },
  level(store, stream, event) {
    stream.level = event;
    stream.levelAt = performance.now();
    stream.spectrogram.put(event.start, event.bands);
  },
};
