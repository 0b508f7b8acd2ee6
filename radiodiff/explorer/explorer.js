// The page on which one moves the transmitter. It runs in two hosts: as a widget beside a kernel
// (`render`, at the end), and frozen into HTML with the maps of a grid of transmitters
// (`mountStatic`). No dependency, no build step, no request.
//
// Arrays index [row * size + col] with row 0 at the top; metres are (x, y) with y up.

const VIEWS = {
  prediction: { label: "Prediction", quantity: "gain", title: (n) => `Prediction, mean of ${n} samples` },
  simulator: { label: "Simulator", quantity: "gain", title: () => "Simulator, dominant paths" },
  error: { label: "Error", quantity: "error", title: () => "Error of the prediction" },
  uncertainty: {
    label: "Uncertainty",
    quantity: "uncertainty",
    title: (n) => `Uncertainty, spread of ${n} samples`,
  },
};
const QUANTITIES = {
  gain: { label: "path gain [dB]", tick: 20 },
  error: { label: "prediction minus simulator [dB]", tick: 15 },
  uncertainty: { label: "standard deviation [dB]", tick: 2 },
};
const BUILDING = [140, 140, 140]; // as in the figures of the book
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const LONG_STEP = 5; // cells, with Shift
const GRAB_PX = 28; // a finger this near to the transmitter drags it; elsewhere it scrolls the page
const PATIENCE_MS = 15000;

// Numbers and bytes

/** Bytes from base64 text, or from the DataView that a widget receives. */
function bytesOf(value) {
  if (typeof value !== "string") {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return bytes.slice(); // its offset need not suit other types
  }
  return Uint8Array.from(atob(value), (character) => character.charCodeAt(0));
}

const floatsOf = (value) => new Float32Array(bytesOf(value).buffer);
const isSame = (a, b) => Boolean(a && b) && a[0] === b[0] && a[1] === b[1];
const number = (value, digits = 1) => value.toFixed(digits).replace("-", "\u2212");
const percent = (share) => `${number(100 * share)}\u00a0%`;
const decibels = (value, digits = 2) => `${number(value, digits)}\u00a0dB`;
const signed = (value) => (value > 0 ? "+" : "") + decibels(value, 1);
const place = ([row, col]) => `row ${row}, column ${col}`;

/** Shares of the outdoor cells that prediction and simulator cover, and on which they agree. */
function coverage(frame, mask, threshold) {
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
  return { predicted: predicted / outdoors, simulated: simulated / outdoors, agreed: agreed / outdoors };
}

// Elements

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function numberInput(name, tile) {
  const half = tile.cell_size_m / 2;
  return element("input", {
    type: "number",
    min: half, // steps go from the middle of a cell to that of the next
    max: tile.size * tile.cell_size_m - half,
    step: tile.cell_size_m,
    inputmode: "decimal",
    "data-testid": `explorer-${name}`,
    "aria-label": `Transmitter ${name}, in metres`,
  });
}

/**
 * Draw the page into an element.
 *
 * `host.move(cell, how)` is called with an outdoor cell that somebody chose by "pointer" or by
 * "typing", `host.step(direction, count)` for arrow keys, `host.threshold(db)` when the slider
 * rests. `host.places`, if given, are the cells that have maps.
 */
function createPage(el, tile, host) {
  const { size, cell_size_m: cellSize } = tile;
  const extent = size * cellSize;
  const mask = bytesOf(tile.building_mask);
  const tables = Object.fromEntries(
    Object.entries(tile.colours).map(([quantity, table]) => [quantity, bytesOf(table)]),
  );
  const ranges = {
    gain: [tile.floor_db, tile.peak_db],
    error: [-tile.error_limit_db, tile.error_limit_db],
    uncertainty: [0, tile.uncertainty_limit_db],
  };
  const state = { view: "prediction", threshold: -100, marker: null, frame: null, hover: null };

  const toMetres = ([row, col]) => [(col + 0.5) * cellSize, (size - row - 0.5) * cellSize];
  const toCell = ([x, y]) => [size - 1 - Math.floor(y / cellSize), Math.floor(x / cellSize)];
  const isInside = ([row, col]) => row >= 0 && col >= 0 && row < size && col < size;
  const isBuilding = ([row, col]) => mask[row * size + col] > 0;

  // The elements, in the order in which the keyboard goes through them.
  // Each page in a document may run its own copy of this script: a counter would not be unique.
  const name = `rdx-view-${Math.random().toString(36).slice(2)}`;
  const views = {};
  const viewList = element("fieldset", { class: "rdx-views" }, element("legend", {}, "Show"));
  for (const [view, { label }] of Object.entries(VIEWS)) {
    const input = element("input", {
      type: "radio",
      name,
      value: view,
      "data-testid": `explorer-view-${view}`,
    });
    const canvas = element("canvas", { width: size, height: size, "aria-hidden": "true" });
    viewList.append(element("label", {}, input, canvas, element("span", {}, label)));
    views[view] = { input, canvas };
  }
  views.prediction.input.checked = true;

  const title = element("div", { class: "rdx-title" });
  const canvas = element("canvas", {
    class: "rdx-map",
    tabindex: 0,
    role: "application",
    "aria-roledescription": "map",
    "data-testid": "explorer-canvas",
  });
  const ramp = element("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const ticks = element("div", { class: "rdx-ticks", "aria-hidden": "true" });
  const unit = element("div", { class: "rdx-unit" });
  const bar = element("div", { class: "rdx-bar" }, ramp, ticks, unit);
  const readout = element("div", { class: "rdx-readout", "data-testid": "explorer-readout" });
  const legend = element("div", { class: "rdx-legend" });
  const status = element("div", {
    class: "rdx-status",
    role: "status",
    "aria-live": "polite",
    "data-testid": "explorer-status",
  });

  const inputs = { x: numberInput("x", tile), y: numberInput("y", tile) };
  const slider = element("input", {
    type: "range",
    min: Math.ceil(tile.floor_db),
    max: Math.floor(tile.peak_db),
    step: 1,
    "data-testid": "explorer-threshold",
    "aria-label": "Coverage threshold, in decibels",
  });
  const sliderValue = element("output", {});
  const markBox = element("input", {
    type: "checkbox",
    checked: true,
    "data-testid": "explorer-mark",
  });
  const numbers = {};
  const table = element("dl", { class: "rdx-numbers" });
  for (const [key, label] of [
    ["covered", "Covered, predicted"],
    ["covered-simulator", "Covered, simulator"],
    ["agreement", "Both say the same"],
    ["rmse", "RMSE against simulator"],
    ["uncertainty", "Mean uncertainty"],
  ]) {
    numbers[key] = element("dd", { "data-testid": `explorer-${key}` }, "\u2013");
    table.append(element("div", {}, element("dt", {}, label), numbers[key]));
  }
  const controls = element(
    "div",
    { class: "rdx-controls" },
    element(
      "div",
      { class: "rdx-row" },
      element("span", { class: "rdx-name" }, "Transmitter [m]"),
      element("label", {}, "x ", inputs.x),
      element("label", {}, "y ", inputs.y),
    ),
    element(
      "div",
      { class: "rdx-threshold" },
      element("span", { class: "rdx-name" }, "Covered from"),
      sliderValue,
      slider,
    ),
    element("label", { class: "rdx-check" }, markBox, " hatch what is not covered"),
    table,
  );

  const page = element(
    "section",
    {
      class: "rdx",
      "data-testid": "explorer",
      "data-state": "busy",
      "aria-label": "Radio map with a transmitter to move",
    },
    element(
      "div",
      { class: "rdx-columns" },
      element("div", { class: "rdx-left" }, title, canvas, bar, readout, legend, status),
      element("div", { class: "rdx-right" }, viewList, controls),
    ),
  );
  for (const node of page.querySelectorAll("input, canvas[tabindex]")) {
    node.dataset.lmSuppressShortcuts = "true"; // or JupyterLab would take the arrow keys
  }
  if (tile.note) page.append(element("div", { class: "rdx-note" }, tile.note));
  el.replaceChildren(page);

  // Drawing

  const picture = element("canvas", { width: size, height: size });

  /** Value of a view in a cell. */
  function valueAt(view, i) {
    const { mean, std, truth } = state.frame;
    if (view === "prediction") return mean[i];
    if (view === "simulator") return truth[i];
    return view === "error" ? mean[i] - truth[i] : std[i];
  }

  function paint(target, view) {
    const { quantity } = VIEWS[view];
    const [low, high] = ranges[quantity];
    const colours = tables[quantity];
    const context = target.getContext("2d");
    const image = context.createImageData(size, size);
    for (let i = 0; i < mask.length; i++) {
      let [red, green, blue] = BUILDING;
      if (!mask[i]) {
        const level = Math.round((255 * (valueAt(view, i) - low)) / (high - low));
        const k = 3 * Math.min(255, Math.max(0, level));
        [red, green, blue] = [colours[k], colours[k + 1], colours[k + 2]];
      }
      image.data.set([red, green, blue, 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
  }

  /** Hatch the cells below the threshold and draw the border of the covered ones. */
  function drawCoverage(context, scale, ratio) {
    const isCovered = (row, col) => valueAt(state.view, row * size + col) >= state.threshold;
    context.save();
    context.beginPath();
    for (let row = 0; row < size; row++) {
      for (let col = 0; col < size; col++) {
        if (mask[row * size + col] || isCovered(row, col)) continue;
        context.rect(col * scale, row * scale, scale, scale);
      }
    }
    context.clip();
    context.beginPath();
    const side = size * scale;
    for (let offset = -side; offset < side; offset += 7 * ratio) {
      context.moveTo(offset, side);
      context.lineTo(offset + side, 0);
    }
    context.lineWidth = 1.1 * ratio;
    context.strokeStyle = "rgba(255, 255, 255, 0.6)";
    context.stroke();
    context.restore();

    context.beginPath();
    for (let row = 0; row < size; row++) {
      for (let col = 0; col < size; col++) {
        if (mask[row * size + col]) continue;
        for (const [down, right] of [[0, 1], [1, 0]]) {
          const [r, c] = [row + down, col + right];
          if (!isInside([r, c]) || mask[r * size + c] || isCovered(r, c) === isCovered(row, col)) {
            continue;
          }
          context.moveTo(c * scale, r * scale);
          context.lineTo((c + 1 - right) * scale, (r + 1 - down) * scale);
        }
      }
    }
    context.lineCap = "round";
    for (const [width, colour] of [[3.6, "rgba(0, 0, 0, 0.75)"], [1.8, "#fff"]]) {
      context.lineWidth = width * ratio;
      context.strokeStyle = colour;
      context.stroke();
    }
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
      context.lineWidth = width * ratio;
      context.strokeStyle = colour;
      context.stroke();
    }
  }

  function drawMap() {
    const width = canvas.clientWidth;
    if (!state.frame || !width) return;
    const ratio = window.devicePixelRatio || 1;
    const side = Math.round(width * ratio);
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const context = canvas.getContext("2d");
    const scale = side / size;
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, side, side);
    if (markBox.checked && VIEWS[state.view].quantity === "gain") drawCoverage(context, scale, ratio);
    for (const [row, col] of host.places || []) {
      context.beginPath();
      context.arc((col + 0.5) * scale, (row + 0.5) * scale, 2.2 * ratio, 0, 2 * Math.PI);
      context.fillStyle = "#fff";
      context.fill();
      context.lineWidth = 1 * ratio;
      context.strokeStyle = "rgba(0, 0, 0, 0.7)";
      context.stroke();
    }
    if (state.hover) {
      const [row, col] = state.hover;
      context.lineWidth = 1.5 * ratio;
      context.strokeStyle = "#fff";
      context.strokeRect(col * scale, row * scale, scale, scale);
    }
    drawCross(context, state.marker, scale, ratio);
  }

  function drawBar() {
    const { quantity } = VIEWS[state.view];
    const [low, high] = ranges[quantity];
    const context = ramp.getContext("2d");
    const image = context.createImageData(256, 1);
    for (let k = 0; k < 256; k++) {
      const [red, green, blue] = tables[quantity].subarray(3 * k, 3 * k + 3);
      image.data.set([red, green, blue, 255], 4 * k);
    }
    context.putImageData(image, 0, 0);
    const { label, tick: step } = QUANTITIES[quantity];
    unit.textContent = label;
    ticks.replaceChildren();
    for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
      // Errors and spreads may lie beyond the ends of their bars.
      const isLast = quantity !== "gain" && value >= high;
      const isFirst = quantity === "error" && value <= low;
      const sign = isLast ? "\u2265\u2009" : isFirst ? "\u2264\u2009" : "";
      const tick = element("span", {}, sign + number(value, 0));
      tick.style.left = `${(100 * (value - low)) / (high - low)}%`;
      ticks.append(tick);
    }
    if (quantity === "gain") {
      const mark = element("i", { class: "rdx-mark" });
      mark.style.left = `${(100 * (state.threshold - low)) / (high - low)}%`;
      ticks.append(mark);
    }
  }

  function drawLegend() {
    const entries = [["rdx-key-cross", "transmitter"], ["rdx-key-building", "building"]];
    if (host.places) entries.push(["rdx-key-dot", "other transmitters"]);
    if (markBox.checked && VIEWS[state.view].quantity === "gain") {
      entries.push(["rdx-key-hatch", "not covered"]);
    }
    legend.replaceChildren(
      ...entries.map(([key, text]) => element("span", {}, element("i", { class: key }), text)),
    );
  }

  function describe() {
    title.textContent = VIEWS[state.view].title(tile.samples);
    const [x, y] = toMetres(state.marker);
    canvas.setAttribute(
      "aria-label",
      `${title.textContent}. Transmitter at ${place(state.marker)}, x ${number(x)}, ` +
        `y ${number(y)} metres. Arrow keys move it, with Shift by ${LONG_STEP} cells.`,
    );
  }

  function drawNumbers() {
    if (!state.frame) return;
    const { predicted, simulated, agreed } = coverage(state.frame, mask, state.threshold);
    numbers.covered.textContent = percent(predicted);
    numbers["covered-simulator"].textContent = percent(simulated);
    numbers.agreement.textContent = percent(agreed);
    numbers.rmse.textContent = decibels(state.frame.rmse);
    let [sum, count] = [0, 0];
    for (let i = 0; i < mask.length; i++) {
      if (!mask[i]) [sum, count] = [sum + state.frame.std[i], count + 1];
    }
    numbers.uncertainty.textContent = decibels(sum / count);
    sliderValue.textContent = decibels(state.threshold, 0);
    slider.setAttribute("aria-valuetext", decibels(state.threshold, 0));
  }

  function drawReadout() {
    if (!state.frame || !state.hover) {
      readout.textContent = "Point at the map to read its values.";
      return;
    }
    const [row, col] = state.hover;
    const i = row * size + col;
    const [x, y] = toMetres(state.hover);
    const where = `x ${number(x)}\u00a0m, y ${number(y)}\u00a0m: `;
    if (mask[i]) {
      readout.textContent = `${where}building`;
      return;
    }
    readout.textContent =
      `${where}prediction ${decibels(valueAt("prediction", i), 1)}, ` +
      `simulator ${decibels(valueAt("simulator", i), 1)}, ` +
      `error ${signed(valueAt("error", i))}, uncertainty ${decibels(valueAt("uncertainty", i), 1)}`;
  }

  function drawAll() {
    if (!state.frame) return;
    for (const view of Object.keys(VIEWS)) paint(views[view].canvas, view);
    paint(picture, state.view);
    describe();
    drawBar();
    drawLegend();
    drawNumbers();
    drawReadout();
    drawMap();
  }

  // What people do

  const say = (text) => {
    status.textContent = text;
  };

  let typed = ""; // what the inputs were last set to
  const isEdited = { x: false, y: false };

  function showPosition() {
    const position = toMetres(state.marker);
    ["x", "y"].forEach((axis, k) => {
      // A map that arrives late must not overwrite what somebody is typing.
      if (isEdited[axis] && inputs[axis].matches(":focus")) return;
      inputs[axis].value = String(Number(position[k].toFixed(3)));
    });
    typed = String(position.map((metres) => Number(metres.toFixed(3))));
  }

  /** Ask for a cell, or say why it cannot be. */
  function choose(cell, how) {
    if (!isInside(cell)) {
      say("That is beyond the edge of the map; the transmitter stayed where it was.");
    } else if (isBuilding(cell)) {
      const where = place(cell);
      say(
        `${where[0].toUpperCase()}${where.slice(1)} is inside a building; ` +
          "the transmitter stayed where it was. Choose a street.",
      );
    } else {
      host.move(cell, how);
      return;
    }
    showPosition();
  }

  const cellUnder = (event) => {
    const box = canvas.getBoundingClientRect();
    const col = Math.floor(((event.clientX - box.left) * size) / box.width);
    const row = Math.floor(((event.clientY - box.top) * size) / box.height);
    return [row, col];
  };
  const isNearMarker = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = box.left + ((state.marker[1] + 0.5) * box.width) / size;
    const y = box.top + ((state.marker[0] + 0.5) * box.height) / size;
    return Math.hypot(event.clientX - x, event.clientY - y) <= GRAB_PX;
  };
  const within = ([row, col]) =>
    [row, col].map((value) => Math.min(size - 1, Math.max(0, value)));

  let dragging = null; // pointer that drags
  let last = null; // cell it was in
  let tapped = false; // whether a click that follows is a finger's tap
  const hover = (cell) => {
    state.hover = cell && isInside(cell) ? cell : null;
    drawReadout();
    drawMap();
  };
  // A finger away from the transmitter scrolls the page, as everywhere; on it, it drags.
  canvas.addEventListener(
    "touchstart",
    (event) => {
      if (state.marker && isNearMarker(event.touches[0])) event.preventDefault();
    },
    { passive: false },
  );
  canvas.addEventListener("pointerdown", (event) => {
    if (!state.frame || event.button !== 0) return;
    tapped = event.pointerType === "touch" && !isNearMarker(event);
    if (tapped) return;
    dragging = event.pointerId;
    canvas.setPointerCapture(dragging);
    last = cellUnder(event);
    if (event.pointerType !== "touch") choose(last, "pointer");
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!state.frame) return;
    hover(cellUnder(event));
    if (event.pointerId !== dragging) return;
    const cell = within(cellUnder(event));
    if (isSame(cell, last)) return;
    last = cell;
    choose(cell, "pointer");
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => {
      if (event.pointerId === dragging) dragging = null;
    });
  }
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("click", (event) => {
    if (!tapped || !state.frame) return;
    tapped = false;
    hover(cellUnder(event));
    choose(cellUnder(event), "pointer");
  });
  canvas.addEventListener("keydown", (event) => {
    const direction = ARROWS[event.key];
    if (!direction || !state.frame || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const count = event.shiftKey ? LONG_STEP : 1;
    if (host.step) {
      host.step(direction, count);
    } else {
      choose(state.marker.map((value, axis) => value + count * direction[axis]), "keys");
    }
  });

  function type() {
    const position = [inputs.x.valueAsNumber, inputs.y.valueAsNumber];
    isEdited.x = isEdited.y = false;
    if (!state.frame || String(position) === typed) return;
    if (position.every((value) => value >= 0 && value <= extent)) {
      choose(within(toCell(position)), "typing");
      return;
    }
    say(
      `Expected x and y between 0 and ${number(extent, 0)}\u00a0m; ` +
        "the transmitter stayed where it was.",
    );
    showPosition();
  }

  for (const axis of ["x", "y"]) {
    inputs[axis].addEventListener("input", () => {
      isEdited[axis] = true;
    });
    inputs[axis].addEventListener("keydown", (event) => {
      if (event.key === "Enter") type(); // which is no change for JupyterLab
    });
    inputs[axis].addEventListener("change", type);
  }
  slider.addEventListener("input", () => {
    state.threshold = slider.valueAsNumber;
    drawNumbers();
    drawBar();
    drawMap();
  });
  slider.addEventListener("change", () => host.threshold?.(state.threshold));
  markBox.addEventListener("change", () => {
    drawLegend();
    drawMap();
  });
  for (const [view, { input }] of Object.entries(views)) {
    input.addEventListener("change", () => {
      state.view = view;
      drawAll();
    });
  }

  const observer = new ResizeObserver(drawMap);
  observer.observe(canvas);

  return {
    get frame() {
      return state.frame;
    },
    get marker() {
      return state.marker;
    },
    say,
    place,
    toMetres,
    /** Move the cross, before its map is there. */
    mark(cell) {
      state.marker = cell;
      showPosition();
      describe();
      drawMap();
    },
    /** Show the maps of a transmitter. */
    show(frame) {
      state.frame = frame;
      state.marker ??= frame.cell;
      page.dataset.row = frame.cell[0];
      page.dataset.col = frame.cell[1];
      showPosition();
      drawAll();
    },
    threshold(db) {
      state.threshold = db;
      slider.value = db;
      drawNumbers();
      if (state.frame) drawBar();
      drawMap();
    },
    busy(isBusy) {
      page.dataset.state = isBusy ? "busy" : "ready";
    },
    remove() {
      observer.disconnect();
    },
  };
}

// Host one: frozen into HTML

/** Show a grid of transmitters in the first place with this mark that is still empty. */
function mountStatic(mark, data) {
  const el = document.querySelector(`[data-rdx="${mark}"]:not([data-rdx-mounted])`);
  if (!el) return;
  el.dataset.rdxMounted = "";
  const { tile, cells } = data;
  const mask = bytesOf(tile.building_mask);
  const outdoors = [...mask.keys()].filter((i) => !mask[i]);
  const packed = Object.fromEntries(
    Object.entries(data.maps).map(([name, bytes]) => [name, bytesOf(bytes)]),
  );
  const gain = (level) => tile.floor_db + (level / 255) * (tile.peak_db - tile.floor_db);

  function unpack(name, index, convert) {
    const values = new Float32Array(mask.length).fill(NaN);
    outdoors.forEach((i, k) => {
      values[i] = convert(packed[name][index * outdoors.length + k]);
    });
    return values;
  }

  let current = data.start;
  function show(index, text) {
    current = index;
    page.mark(cells[index]);
    page.show({
      cell: cells[index],
      mean: unpack("mean", index, gain),
      truth: unpack("truth", index, gain),
      std: unpack("std", index, (level) => level * data.std_step_db),
      rmse: data.rmse_db[index],
    });
    page.say(text);
    page.busy(false);
  }

  const away = (index, [row, col]) => Math.hypot(cells[index][0] - row, cells[index][1] - col);
  const all = cells.map((_, index) => index);
  const nearest = (cell, among = all) =>
    among.reduce((best, index) => (away(index, cell) < away(best, cell) ? index : best));

  /** The transmitter nearest in a direction, at least `count` cells that way if there is one. */
  function inDirection([down, right], count) {
    const [row, col] = cells[current];
    const ahead = (i) => (cells[i][0] - row) * down + (cells[i][1] - col) * right;
    const aside = (i) => Math.abs((cells[i][0] - row) * right) + Math.abs((cells[i][1] - col) * down);
    const before = all.filter((i) => ahead(i) > 0 && aside(i) <= 2 * ahead(i));
    if (!before.length) return null;
    const far = before.filter((i) => ahead(i) >= count);
    const cost = (i) => ahead(i) + 2 * aside(i); // straight on rather than near
    return (far.length ? far : before).reduce((best, i) => (cost(i) < cost(best) ? i : best));
  }

  const host = {
    places: cells,
    move(cell, how) {
      let index = nearest(cell);
      if (how === "typing" && index === current && !isSame(cell, cells[current])) {
        // Small steps of a number would never leave the transmitter: go on in their direction.
        const [down, right] = [cell[0] - cells[current][0], cell[1] - cells[current][1]];
        const direction =
          Math.abs(down) > Math.abs(right) ? [Math.sign(down), 0] : [0, Math.sign(right)];
        index = inDirection(direction, 1) ?? index;
      }
      const metres = away(index, cell) * tile.cell_size_m;
      const found = `Showing the precomputed transmitter at ${place(cells[index])}`;
      const where = how === "typing" ? "from that position" : "from where you pointed";
      show(index, metres ? `${found}, the nearest; ${number(metres, 0)}\u00a0m ${where}.` : `${found}.`);
    },
    step(direction, count) {
      const index = inDirection(direction, count);
      if (index === null) {
        page.say("No precomputed transmitter lies farther that way; the transmitter stayed.");
      } else {
        show(index, `Showing the precomputed transmitter at ${place(cells[index])}.`);
      }
    },
  };
  const page = createPage(el, tile, host);
  page.threshold(data.threshold_db);
  show(
    data.start,
    `Showing one of ${cells.length} precomputed transmitters. Drag the red cross, click a street, ` +
      "or press the arrow keys on the map.",
  );
}

// Host two: a widget beside a kernel

function render({ model, el }) {
  let wanted = null; // where the transmitter should go
  let asked = null; // what the kernel is computing
  let started = 0;
  let timer = 0;

  function ask() {
    asked = wanted;
    started = performance.now();
    page.busy(true);
    page.say(`Computing ${place(asked)} \u2026`);
    clearTimeout(timer);
    timer = setTimeout(() => {
      page.say(
        `Computing ${place(asked)} \u2026 still no answer. If the kernel was stopped, run the ` +
          "cell again.",
      );
      asked = null; // or it would keep what one does next for ever
    }, PATIENCE_MS);
    model.set("transmitter_cell", asked);
    model.save_changes();
  }

  const host = {
    move(cell) {
      page.mark(cell);
      wanted = cell;
      if (asked) return; // the newest position waits for the answer
      if (isSame(cell, page.frame?.cell)) page.say(`Done: ${place(cell)} is shown.`);
      else ask();
    },
    threshold(db) {
      model.set("threshold_db", db);
      model.save_changes();
    },
  };
  const page = createPage(el, model.get("_tile"), host);

  function receive() {
    const result = model.get("_result");
    clearTimeout(timer);
    const answered = asked;
    asked = null;
    if (result.error) {
      page.busy(false);
      if (page.frame) page.mark(page.frame.cell);
      page.say(`The kernel could not compute this map. ${result.error}`);
      return;
    }
    const frame = {
      cell: result.cell,
      mean: floatsOf(result.mean),
      std: floatsOf(result.std),
      truth: floatsOf(result.truth),
      rmse: result.rmse_db,
    };
    if (!answered) wanted = frame.cell; // Python moved it, or this is the first map
    if (isSame(wanted, frame.cell)) page.mark(frame.cell);
    page.show(frame);
    if (!isSame(wanted, frame.cell)) {
      ask();
      return;
    }
    const seconds = answered ? (performance.now() - started) / 1000 : result.seconds;
    page.busy(false);
    page.say(`Done in ${seconds.toFixed(2)}\u00a0s: ${place(frame.cell)}.`);
  }

  const onThreshold = () => page.threshold(model.get("threshold_db"));
  model.on("change:_result", receive);
  model.on("change:threshold_db", onThreshold);
  onThreshold();
  receive();
  return () => {
    clearTimeout(timer);
    model.off("change:_result", receive);
    model.off("change:threshold_db", onThreshold);
    page.remove();
  };
}

export default { render };
