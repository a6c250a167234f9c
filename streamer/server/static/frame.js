// One requestAnimationFrame for all views. A hidden tab gets no frames: the set of waiting jobs stays small.

const waiting = new Set();
let handle = 0;

function run() {
  handle = 0;
  const jobs = [...waiting];
  waiting.clear();
  for (const job of jobs) job();
}

/** Runs `job` (a function that is the same object each time) once in the next frame. */
export function soon(job) {
  waiting.add(job);
  if (!handle) handle = requestAnimationFrame(run);
}
