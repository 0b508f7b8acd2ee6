// Pictures: the map cell by cell, and what is drawn over it.

import { colourOf, coverageBorder, uncoveredCells, valueAt, VIEWS } from "./views.mjs";

const BUILDING = [140, 140, 140]; // as in the figures of the book

/** Paint a view into a canvas of one pixel a cell. */
export function paint(target, view, tile, frame) {
  const scale = tile.scales[VIEWS[view].quantity];
  const context = target.getContext("2d");
  const image = context.createImageData(tile.size, tile.rows);
  for (let i = 0; i < tile.mask.length; i++) {
    const colour = tile.mask[i] ? BUILDING : colourOf(scale, valueAt(frame, view, i));
    image.data.set([...colour, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** Paint the colours of a scale into a canvas of 256 pixels by 1. */
export function paintRamp(target, { colours }) {
  const context = target.getContext("2d");
  const image = context.createImageData(256, 1);
  for (let k = 0; k < 256; k++) {
    image.data.set([...colours.subarray(3 * k, 3 * k + 3), 255], 4 * k);
  }
  context.putImageData(image, 0, 0);
}

/** Stroke the current path once for each `[width, colour]`, the widest first. */
function strokeLayers(context, layers, ratio) {
  for (const [width, colour] of layers) {
    context.lineWidth = width * ratio;
    context.strokeStyle = colour;
    context.stroke();
  }
}

function hatch(context, cells, [width, height], scale, ratio) {
  context.save();
  context.beginPath();
  for (const [row, col] of cells) context.rect(col * scale, row * scale, scale, scale);
  context.clip();
  context.beginPath();
  for (let offset = -height; offset < width; offset += 7 * ratio) {
    context.moveTo(offset, height);
    context.lineTo(offset + height, 0);
  }
  strokeLayers(context, [[1.1, "rgba(255, 255, 255, 0.6)"]], ratio);
  context.restore();
}

/** Hatch the cells below the threshold and draw the border of the covered ones. */
function drawCoverage(context, tile, values, threshold, scale, ratio) {
  const sides = [tile.size * scale, tile.rows * scale];
  hatch(context, uncoveredCells(tile, values, threshold), sides, scale, ratio);
  context.beginPath();
  for (const [x, y, toX, toY] of coverageBorder(tile, values, threshold)) {
    context.moveTo(x * scale, y * scale);
    context.lineTo(toX * scale, toY * scale);
  }
  context.lineCap = "round";
  strokeLayers(context, [[3.6, "rgba(0, 0, 0, 0.75)"], [1.8, "#fff"]], ratio);
}

function drawDot(context, [row, col], scale, ratio) {
  context.beginPath();
  context.arc((col + 0.5) * scale, (row + 0.5) * scale, 2.2 * ratio, 0, 2 * Math.PI);
  context.fillStyle = "#fff";
  context.fill();
  strokeLayers(context, [[1, "rgba(0, 0, 0, 0.7)"]], ratio);
}

function drawFrame(context, [row, col], scale, ratio) {
  context.lineWidth = 1.5 * ratio;
  context.strokeStyle = "#fff";
  context.strokeRect(col * scale, row * scale, scale, scale);
}

function drawCross(context, [row, col], scale, ratio) {
  const [x, y] = [(col + 0.5) * scale, (row + 0.5) * scale];
  const arm = 9 * ratio;
  context.lineCap = "butt";
  for (const [width, length, colour] of [[6, arm + 1.5 * ratio, "#fff"], [3, arm, "#e00000"]]) {
    context.beginPath();
    context.moveTo(x - length, y);
    context.lineTo(x + length, y);
    context.moveTo(x, y - length);
    context.lineTo(x, y + length);
    strokeLayers(context, [[width, colour]], ratio);
  }
}

/** Draw the large map as wide as its canvas is shown, from the painted picture. */
export function drawMap({ tile, parts, state, host }) {
  const { canvas, picture, markBox } = parts;
  const width = canvas.clientWidth;
  if (!state.frame || !width) return;
  const ratio = window.devicePixelRatio || 1;
  const side = Math.round(width * ratio);
  const height = Math.round((side * tile.rows) / tile.size);
  if (canvas.width !== side) [canvas.width, canvas.height] = [side, height];
  const context = canvas.getContext("2d");
  const scale = side / tile.size;
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, 0, 0, side, height);
  if (markBox.checked && VIEWS[state.view].quantity === "gain") {
    const values = state.view === "prediction" ? state.frame.mean : state.frame.truth;
    drawCoverage(context, tile, values, state.threshold, scale, ratio);
  }
  for (const cell of host.places || []) drawDot(context, cell, scale, ratio);
  if (state.hover) drawFrame(context, state.hover, scale, ratio);
  drawCross(context, state.marker, scale, ratio);
}
