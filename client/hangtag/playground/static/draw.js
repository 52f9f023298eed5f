// A board of 28 x 28 pixels for mouse, finger, pen and keyboard.
import { $ } from "./common.js";

const SIDE = 28;
const RADIUS = 1.5; // pixels of the board
const canvas = $("canvas");
const context = canvas.getContext("2d");
const pixels = new Uint8ClampedArray(SIDE * SIDE);
let [pen, cursor] = [null, null]; // where the pen is while it is down, and the keyboard while it is used
export const drawing = { onchange: () => {}, clear: () => (pixels.fill(0), changed()) };

function paint(x, y) {
  pixels.forEach((value, at) => {
    const distance = Math.hypot((at % SIDE) + 0.5 - x, Math.floor(at / SIDE) + 0.5 - y);
    pixels[at] = Math.max(value, 255 * Math.min(RADIUS + 0.5 - distance, 1));
  });
}

function show(mark = cursor) {
  const image = context.createImageData(SIDE, SIDE);
  pixels.forEach((value, at) => image.data.set([value, value, value, 255], 4 * at));
  if (mark) image.data.set([90, 120, 255, 255], 4 * (mark.y * SIDE + mark.x));
  context.putImageData(image, 0, 0);
}

function changed() {
  show(null); // the cursor is no part of the drawing
  canvas.toBlob((blob) => (show(), drawing.onchange(blob)), "image/png");
}

function stroke(event) {
  const box = canvas.getBoundingClientRect();
  const to = { x: ((event.clientX - box.left) / box.width) * SIDE, y: ((event.clientY - box.top) / box.height) * SIDE };
  const from = pen ?? to;
  const steps = Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) * 2) || 1;
  for (let step = 1; step <= steps; step++) {
    paint(from.x + ((to.x - from.x) * step) / steps, from.y + ((to.y - from.y) * step) / steps);
  }
  pen = to;
  show();
}

canvas.onpointerdown = (event) => (canvas.setPointerCapture(event.pointerId), (cursor = null), stroke(event));
canvas.onpointermove = (event) => pen && stroke(event);
canvas.onpointerup = canvas.onpointercancel = () => pen && ((pen = null), changed());
canvas.onblur = () => ((cursor = null), show());
canvas.onkeydown = (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] }[event.key];
  if (!step) return;
  event.preventDefault();
  cursor ??= { x: SIDE / 2, y: SIDE / 2 };
  cursor.x = Math.min(Math.max(cursor.x + step[0], 0), SIDE - 1);
  cursor.y = Math.min(Math.max(cursor.y + step[1], 0), SIDE - 1);
  if (event.key === " ") paint(cursor.x + 0.5, cursor.y + 0.5), changed();
  else show();
};
show();
