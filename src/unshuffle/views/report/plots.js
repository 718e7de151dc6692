// Charts over a logarithmic axis, by uPlot.

/** Whole powers of ten around all positive numbers of some lists, with one more below for 0. */
function decades(lists) {
  let low = Infinity;
  let high = 0;
  let zero = false;
  for (const list of lists) {
    for (const value of list) {
      zero ||= value === 0;
      if (value > 0 && value < Infinity) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
  }
  if (low > high) return null;
  const bottom = Math.floor(Math.log10(low)) - zero;
  return { zero, range: [10 ** bottom, 10 ** Math.max(Math.ceil(Math.log10(high)), bottom + 1 + zero)] };
}

/** What a logarithmic axis can show of numbers: 0 at its bottom, and nothing for the others. */
const drawable = (list, bottom) =>
  Array.from(list, (value) => (value === null || !(value >= 0 && value < Infinity) ? null : value || bottom));

/** An axis in the page's colours. */
function axis(label, rest) {
  const grid = { stroke: () => colour("line"), width: 1 };
  return { label, stroke: () => colour("muted"), grid, ticks: grid, labelSize: 22, font: "12px system-ui", labelFont: "12px system-ui", ...rest };
}

/** Dots, without a line. */
const dots = (label, shade, size) => ({
  label,
  stroke: () => colour(shade),
  paths: () => null,
  points: { show: true, size, width: 0, fill: () => colour(shade) },
});

/** A line, straight or in steps. */
const line = (label, shade, rest = {}) => ({
  label, stroke: () => colour(shade), width: 2, points: { show: false }, spanGaps: true, ...rest,
});

const stepped = { paths: uPlot.paths.stepped({ align: 1 }) };

/** Whole powers of ten in a range, every so manyth, so that their labels have room. */
function powersBetween(low, high, most) {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const step = Math.max(1, Math.ceil((last - first) / most));
  const powers = [];
  for (let exponent = first; exponent <= last; exponent += step) powers.push(10 ** exponent);
  return powers;
}

/** A chart with a logarithmic axis upwards; as wide as what it stands in. */
function logChart(target, { x, xLabel, yLabel, xRange, series, lists, hooks = {} }) {
  const found = decades(lists);
  if (found === null) {
    target.append(make("p", "note", "There are no errors to draw."));
    return null;
  }
  const { zero, range } = found;
  const name = (value) => (zero && value < 2 * range[0] ? "0" : powerOfTen(Math.round(Math.log10(value))));
  const size = () => ({ width: target.clientWidth, height: Math.max(260, Math.min(420, 0.75 * target.clientWidth)) });
  const chart = new uPlot(
    {
      ...size(),
      scales: { x: { time: false, range: xRange }, y: { distr: 3, range: () => range } },
      axes: [
        axis(xLabel, { size: 40, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7] }),
        axis(yLabel, {
          size: 56,
          splits: () => powersBetween(...range, 8),
          filter: (_, splits) => splits,
          values: (_, splits) => splits.map((value) => (value ? name(value) : "")),
        }),
      ],
      series: [{ label: xLabel }, ...series],
      legend: { live: false },
      cursor: { y: false, points: { show: false } },
      hooks,
    },
    [x, ...lists.map((list) => drawable(list, range[0]))],
    target,
  );
  new ResizeObserver(() => chart.setSize(size())).observe(target);
  redraws.push(() => chart.redraw());
  return chart;
}
