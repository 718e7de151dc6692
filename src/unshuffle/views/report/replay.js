// The search again: the order as a moving permutation, and the error beside it.

const SECONDS_A_FRAME = 0.4;
const SECONDS_AT_MOST = 20;

/** Frame by frame: the pieces of each block of the order that stood. */
function orderAt({ frameStart, frameBlocks, roles }, frame) {
  const order = [];
  for (let block = frameStart[frame]; block < frameStart[frame + 1]; block++) {
    order.push([...frameBlocks.subarray(block * roles.length, (block + 1) * roles.length)]);
  }
  return order;
}

/** For the first piece of each block: where it stands, where it ends, whether its block is another in the end. */
function standing(content, frame) {
  const final = new Set(content.blocks.map(String));
  const marks = new Map();
  orderAt(content, frame).forEach((pieces, stands) => {
    const first = pieces.find((piece) => piece >= 0);
    marks.set(first, { stands, ends: content.place.get(first) ?? 0, changes: !final.has(String(pieces)) });
  });
  return marks;
}

/** Candidates that had been tested by the end of each step. */
function testedBy(candidates) {
  let sum = 0;
  return Float64Array.from(candidates, (count) => (sum += count));
}

function replayView(content) {
  const frames = content.frameStep.length;
  const total = testedBy(content.candidates);
  const moveCursor = errorChart(content, total);
  const canvas = element("order");
  const slider = element("frame");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let frame = frames - 1;
  let began = null; // when playing: the time at which frame 0 was, or would have been

  slider.max = frames - 1;
  element("search-summary").textContent = summaryText(content);
  const pace = 1000 * Math.min(SECONDS_A_FRAME, SECONDS_AT_MOST / frames);

  const draw = (share = 1) => drawOrder(canvas, content, standing(content, frame), frame > 0 && share < 1 ? standing(content, frame - 1) : null, share);
  const show = (next) => {
    frame = Math.min(Math.max(next, 0), frames - 1);
    slider.value = frame;
    const text = statusText(content, frame, total);
    element("replay-status").textContent = text;
    element("standing").textContent = orderText(content, orderAt(content, frame));
    slider.setAttribute("aria-valuetext", text);
    moveCursor(frame);
  };
  const pause = () => {
    began = null;
    element("play").textContent = "Play";
  };
  const go = (next) => { pause(); show(next); draw(); };
  const tick = (now) => {
    if (began === null) return;
    const passed = (now - began) / pace;
    const next = Math.min(Math.floor(passed), frames - 1);
    if (next !== frame) show(next);
    const share = still.matches ? 1 : Math.min((passed - next) / 0.7, 1);
    draw(share);
    if (next === frames - 1 && share >= 1) pause();
    else requestAnimationFrame(tick);
  };
  const play = () => {
    if (frame === frames - 1) show(0);
    began = performance.now() - (frame + 1) * pace;
    element("play").textContent = "Pause";
    requestAnimationFrame(tick);
  };

  element("play").addEventListener("click", () => (began === null ? play() : go(frame)));
  element("first").addEventListener("click", () => go(0));
  element("back").addEventListener("click", () => go(frame - 1));
  element("forward").addEventListener("click", () => go(frame + 1));
  element("final").addEventListener("click", () => go(frames - 1));
  slider.addEventListener("input", () => go(Number(slider.value)));
  redrawn(canvas, () => draw());
  go(frames - 1);
}

function summaryText({ phases, frameStep, candidates, verdict, seconds }) {
  if (candidates.length === 0) return "The search took no step.";
  return `${counted(candidates.length, "step")}, ${counted(verdict.tested, "candidate")} tested, in ${short(seconds.at(-1))} s; ` +
    `${counted(frameStep.length, "order")} stood on the way. Phases: ${phases.join(", ")}.`;
}

function statusText(content, frame, total) {
  const { frameStep, phases, phase, error, blocks } = content;
  const step = frameStep[frame];
  const marks = [...standing(content, frame).values()];
  const home = marks.filter((one) => one.stands === one.ends && !one.changes).length;
  const said = [`Order ${frame + 1} of ${frameStep.length}`];
  if (step < phase.length) {
    said.push(`${phases[phase[step]]}`, `${counted(total[step], "candidate")} tested`, `error ${short(error[step])} on ${counted(content.stepRows[step], "row")}`);
  }
  said.push(`${marks.length} of ${blocks.length} blocks placed, ${home} in their final place`);
  return `${said.join(" · ")}.`;
}

/** The order as a permutation matrix; between two orders its marks are on their way. */
function drawOrder(canvas, content, now, before, share) {
  const { context, width, height } = cleared(canvas);
  const margin = 26;
  const side = Math.min(width, height) - margin - 4;
  const cell = side / content.blocks.length;
  const size = Math.min(Math.max(0.8 * cell, 2.5), 14);
  const eased = share * share * (3 - 2 * share);
  const at = (place) => (place + 0.5) * cell;

  context.translate(margin, 2);
  context.strokeStyle = colour("line");
  context.strokeRect(0, 0, side, side);
  context.beginPath();
  context.moveTo(0, side);
  context.lineTo(side, 0);
  context.stroke();
  const [stays, changes] = [colour("accent"), colour("doubt")];
  for (const [piece, mark] of now) {
    const from = before?.get(piece);
    const stands = from ? from.stands + eased * (mark.stands - from.stands) : mark.stands;
    context.globalAlpha = before && !from ? eased : 1;
    context.fillStyle = mark.changes ? changes : stays;
    context.fillRect(at(stands) - size / 2, side - at(mark.ends) - size / 2, size, size);
  }
  context.globalAlpha = 1;
  context.fillStyle = colour("muted");
  context.font = "12px system-ui";
  context.fillText("place now →", 0, side + 17);
  context.rotate(-Math.PI / 2);
  context.fillText("place in the end →", -side, -10);
}

/** The errors of the search; gives back a function that shows where a frame is. */
function errorChart(content, total) {
  const { standingNumber, standingError, testedNumber, tested, frameStep, every } = content;
  const numbers = [...new Set([...testedNumber, ...standingNumber])].sort((a, b) => a - b);
  const along = (places, values) => {
    const found = new Map();
    places.forEach((place, k) => found.set(place, values[k]));
    return numbers.map((number) => found.get(number) ?? null);
  };
  element("error-caption").textContent =
    "The error of the order that stands (line) and of every candidate tested (dots" +
    `${every > 1 ? `, one in ${every} drawn` : ""}), over the search; shades are its phases.`;
  const cursor = make("div", "cursor");
  let shown = 0;
  const chart = logChart(element("error-plot"), {
    x: numbers,
    xLabel: "candidates tested",
    yLabel: "mean squared error",
    xRange: [0, 1.03 * Math.max(total.at(-1) ?? 1, 1)],
    series: [dots("tested", "dots", tested.length < 1000 ? 6 : 3), line("standing", "accent", stepped)],
    lists: [along(testedNumber, tested), along(standingNumber, standingError)],
    hooks: {
      drawClear: [(u) => shadePhases(u, content, total)],
      draw: [() => place()],
    },
  });
  const place = () => {
    if (chart) cursor.style.left = `${chart.valToPos(total[shown] ?? 0, "x")}px`;
  };
  chart?.over.append(cursor);
  return (frame) => { shown = frameStep[frame]; place(); };
}

/** Shade every second phase, and name those that have room. */
function shadePhases(u, { phases, phase }, total) {
  const { left, top, width, height } = u.bbox;
  const position = (number) => Math.min(Math.max(u.valToPos(number, "x", true), left), left + width);
  u.ctx.save();
  u.ctx.font = `${12 * devicePixelRatio}px system-ui`;
  u.ctx.textBaseline = "bottom";
  const gap = 4 * devicePixelRatio;
  const [shade, ink] = [colour("shade"), colour("muted")];
  let begins = 0;
  let count = 0;
  for (let step = 1; step <= phase.length; step++) {
    if (step < phase.length && phase[step] === phase[begins]) continue;
    const from = position(begins === 0 ? 0 : total[begins - 1]);
    const across = position(total[step - 1]) - from;
    const name = phases[phase[begins]];
    u.ctx.fillStyle = shade;
    if (count % 2 === 1) u.ctx.fillRect(from, top, across, height);
    u.ctx.fillStyle = ink;
    if (u.ctx.measureText(name).width + 2 * gap < across) u.ctx.fillText(name, from + gap, top + height - gap);
    begins = step;
    count += 1;
  }
  u.ctx.restore();
}
