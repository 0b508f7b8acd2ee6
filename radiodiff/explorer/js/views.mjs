// What can be seen: four views of one transmitter's maps, on three scales of colour.
//
// A frame holds the maps of one transmitter: `cell`, `mean`, `truth` and `std` [dB], and `rmse`.

import { number } from "./numbers.mjs";
import { isInside } from "./tile.mjs";

export const VIEWS = {
  prediction: {
    label: "Prediction",
    quantity: "gain",
    title: (n) => `Prediction, mean of ${n} samples`,
  },
  simulator: {
    label: "Simulator",
    quantity: "gain",
    title: () => "Simulator, dominant paths",
  },
  error: { label: "Error", quantity: "error", title: () => "Error of the prediction" },
  uncertainty: {
    label: "Uncertainty",
    quantity: "uncertainty",
    title: (n) => `Uncertainty, spread of ${n} samples`,
  },
};
export const QUANTITIES = {
  gain: { label: "path gain [dB]", tick: 20 },
  error: { label: "prediction minus simulator [dB]", tick: 15 },
  uncertainty: { label: "standard deviation [dB]", tick: 2 },
};

/** Value of a view in a cell [dB]. */
export function valueAt({ mean, truth, std }, view, i) {
  if (view === "prediction") return mean[i];
  if (view === "simulator") return truth[i];
  return view === "error" ? mean[i] - truth[i] : std[i];
}

/** Red, green and blue of a value; beyond the ends of a scale, those of the end. */
export function colourOf({ low, high, colours }, value) {
  const level = Math.round((255 * (value - low)) / (high - low));
  const k = 3 * Math.min(255, Math.max(0, level));
  return [colours[k], colours[k + 1], colours[k + 2]];
}

/** How far along its scale a value lies [%]. */
export const along = ({ low, high }, value) => (100 * (value - low)) / (high - low);

/** Text and place [%] of the ticks below a colour bar. */
export function ticksOf(quantity, scale) {
  const { tick: step } = QUANTITIES[quantity];
  const ticks = [];
  for (let value = Math.ceil(scale.low / step) * step; value <= scale.high; value += step) {
    // Errors and spreads may lie beyond the ends of their bars.
    const isLast = quantity !== "gain" && value >= scale.high;
    const isFirst = quantity === "error" && value <= scale.low;
    const sign = isLast ? "\u2265\u2009" : isFirst ? "\u2264\u2009" : "";
    ticks.push({ text: sign + number(value, 0), left: along(scale, value) });
  }
  return ticks;
}

/** Shares of the outdoor cells that prediction and simulator cover, and on which they agree. */
export function coverage(frame, mask, threshold) {
  let [outdoors, predicted, simulated, agreed] = [0, 0, 0, 0];
  for (let i = 0; i < mask.length; i++) {
    if (mask[i]) continue;
    const p = frame.mean[i] >= threshold;
    const s = frame.truth[i] >= threshold;
    outdoors += 1;
    predicted += p;
    simulated += s;
    agreed += p === s;
  }
  return {
    predicted: predicted / outdoors,
    simulated: simulated / outdoors,
    agreed: agreed / outdoors,
  };
}

/** Mean of a map over the outdoor cells. */
export function outdoorMean(values, mask) {
  let [sum, count] = [0, 0];
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) [sum, count] = [sum + values[i], count + 1];
  }
  return sum / count;
}

/** Outdoor cells below a threshold. */
export function uncoveredCells({ size, mask }, values, threshold) {
  const cells = [];
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i] && !(values[i] >= threshold)) cells.push([Math.floor(i / size), i % size]);
  }
  return cells;
}

/** Sides of cells between covered and uncovered neighbours, as `[x, y, x, y]` in cells. */
export function coverageBorder(tile, values, threshold) {
  const { size, rows, mask } = tile;
  const isCovered = (row, col) => values[row * size + col] >= threshold;
  const sides = [];
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < size; col++) {
      if (mask[row * size + col]) continue;
      for (const [down, right] of [[0, 1], [1, 0]]) {
        const [r, c] = [row + down, col + right];
        if (!isInside(tile, [r, c]) || mask[r * size + c]) continue;
        if (isCovered(r, c) === isCovered(row, col)) continue;
        sides.push([c, r, c + 1 - right, r + 1 - down]);
      }
    }
  }
  return sides;
}
