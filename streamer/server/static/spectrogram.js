// Band energies of 100 ms columns, kept as bytes in one-minute tiles that are turned into pixels once.

const RATE = 10; // columns a second
const COLUMNS = 600; // of one tile
const FLOOR = -92; // dB full scale drawn as nothing
const CEILING = -22;

const STOPS = {
  light: [[0, [255, 255, 255, 0]], [0.25, [196, 222, 216, 120]], [0.55, [84, 160, 152, 220]], [0.8, [18, 98, 98, 255]], [1, [9, 46, 62, 255]]],
  dark: [[0, [20, 30, 34, 0]], [0.25, [22, 62, 66, 150]], [0.55, [32, 128, 120, 235]], [0.8, [122, 206, 178, 255]], [1, [250, 244, 206, 255]]],
};

function table(stops) {
  const lut = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    const x = i / 255;
    let k = 1;
    while (k < stops.length - 1 && stops[k][0] < x) k++;
    const [x0, a] = stops[k - 1];
    const [x1, b] = stops[k];
    const t = Math.max(0, Math.min(1, (x - x0) / (x1 - x0)));
    for (let c = 0; c < 4; c++) lut[i * 4 + c] = a[c] + t * (b[c] - a[c]);
  }
  return lut;
}

const LUTS = { light: table(STOPS.light), dark: table(STOPS.dark) };

export class Spectrogram {
  constructor(keepSeconds) {
    this.most = Math.ceil((keepSeconds * RATE) / COLUMNS) + 1;
    this.bands = 0;
    this.tiles = new Map(); // tile number -> {bytes, canvas, from, to, theme}; insertion order is time order
    this.last = -1;
  }

  /** Takes the bands (dB, low to high) of the column that starts at `start` seconds. */
  put(start, bands) {
    if (bands.length === 0) return;
    if (bands.length !== this.bands) {
      this.bands = bands.length;
      this.tiles.clear();
      this.last = -1;
    }
    const column = Math.round(start * RATE);
    // A column that a slow connection dropped is drawn like its neighbour; a longer hole stays a hole.
    if (column - this.last === 2) this.set(column - 1, bands);
    this.set(column, bands);
    this.last = column;
  }

  set(column, bands) {
    const number = Math.floor(column / COLUMNS);
    let tile = this.tiles.get(number);
    if (!tile) {
      tile = { bytes: new Uint8Array(COLUMNS * this.bands), canvas: null, from: COLUMNS, to: 0, theme: "" };
      this.tiles.set(number, tile);
      if (this.tiles.size > this.most) this.tiles.delete(this.tiles.keys().next().value);
    }
    const at = column - number * COLUMNS;
    for (let band = 0; band < this.bands; band++) {
      const level = (bands[band] - FLOOR) / (CEILING - FLOOR);
      tile.bytes[at * this.bands + band] = Math.max(0, Math.min(255, Math.round(level * 255)));
    }
    tile.from = Math.min(tile.from, at);
    tile.to = Math.max(tile.to, at + 1);
  }

  paint(tile, theme) {
    if (!tile.canvas) {
      tile.canvas = document.createElement("canvas");
      tile.canvas.width = COLUMNS;
      tile.canvas.height = this.bands;
    }
    if (tile.theme !== theme) [tile.from, tile.to, tile.theme] = [0, COLUMNS, theme];
    if (tile.from >= tile.to) return;
    const width = tile.to - tile.from;
    const image = new ImageData(width, this.bands);
    const lut = LUTS[theme];
    for (let x = 0; x < width; x++) {
      for (let band = 0; band < this.bands; band++) {
        const value = tile.bytes[(tile.from + x) * this.bands + band] * 4;
        const pixel = ((this.bands - 1 - band) * width + x) * 4;
        image.data.set(lut.subarray(value, value + 4), pixel);
      }
    }
    tile.canvas.getContext("2d").putImageData(image, tile.from, 0);
    [tile.from, tile.to] = [COLUMNS, 0];
  }

  /** Draws the seconds `from`…`to` into the rectangle that `x(seconds)`, `top` and `height` describe. */
  draw(context, from, to, x, top, height, theme) {
    const length = COLUMNS / RATE;
    for (const [number, tile] of this.tiles) {
      const start = number * length;
      if (start > to || start + length < from) continue;
      this.paint(tile, theme);
      const left = x(start);
      context.drawImage(tile.canvas, left, top, x(start + length) - left, height);
    }
  }
}
