"use strict";

// Elements, canvases and numbers as people read them.

const element = (id) => document.getElementById(id);

/** A new element. Text is only ever text: ids of pieces come from files of strangers. */
function make(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Run `draw` now, when the element's size changes, and when the colours do. */
function redrawn(target, draw) {
  new ResizeObserver(() => draw()).observe(target);
  redraws.push(draw);
}

const redraws = [];

/** A canvas's context, cleared, with as many pixels as the screen has and lengths in CSS pixels. */
function cleared(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width, height };
}

const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

/** 10 to a whole power. */
const powerOfTen = (exponent) => "10" + String(exponent).replace(/./g, (digit) => SUPERSCRIPTS[digit]);

/** A number in three digits. */
function short(value) {
  if (value === null || Number.isNaN(value)) return "unknown";
  if (!Number.isFinite(value)) return value < 0 ? "−∞" : "∞";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5)) {
    const [digits, exponent] = value.toExponential(2).split("e");
    return `${digits.replace("-", "−")} × ${powerOfTen(Number(exponent))}`;
  }
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

/** A probability, which never reads as certainty. */
function chance(value) {
  if (value > 0.9999) return "more than 99.99 %";
  if (value < 0.0001) return "less than 0.01 %";
  return `${(100 * value).toPrecision(value > 0.99 ? 4 : 3)} %`;
}

/** "1 block", "2 blocks". */
const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
