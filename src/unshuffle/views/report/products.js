// W_out W_in of two pairs, side by side.

/** The product of a pair's two matrices, row by row, from weights that were rounded to 8 bits. */
function productOf({ edges: [{ rows, columns }], weights, scales, verdict }, { row, column }) {
  const { width, hidden } = verdict;
  const size = width * hidden;
  const inp = weights.subarray(rows[row] * size, (rows[row] + 1) * size); // hidden × width
  const out = weights.subarray(columns[column] * size, (columns[column] + 1) * size); // width × hidden
  const product = new Float32Array(width * width);
  for (let i = 0; i < width; i++) {
    for (let k = 0; k < hidden; k++) {
      const weight = out[i * hidden + k];
      for (let j = 0; j < width; j++) product[i * width + j] += weight * inp[k * width + j];
    }
  }
  const scale = scales[rows[row]] * scales[columns[column]];
  return product.map((value) => value * scale);
}

function traceOf(product, width) {
  let sum = 0;
  for (let k = 0; k < width; k++) sum += product[k * width + k];
  return sum;
}

/** Compares a pair with the matched one of its inp layer, or that with its best rival. */
function productsView(content) {
  const { verdict, edges: [edge] } = content;
  if (!content.weights) {
    element("products-note").textContent = verdict.width
      ? "The weights of this network are too large to be put into a page, so the products cannot be shown here."
      : "Products are shown of blocks x + out(a(inp(x))) only, and this network has other blocks.";
    return () => {};
  }
  element("products-note").textContent =
    `Each picture is ${verdict.width} × ${verdict.width}; blue is negative, orange positive, on one scale for both. In a true pair ` +
    "training leaves its mark on the diagonal, whose sum is the trace. Computed in the browser, from weights rounded to 8 bits.";
  const sides = [0, 1].map(() => {
    const figure = make("figure");
    const side = { caption: make("figcaption"), canvas: make("canvas"), pair: null };
    side.canvas.setAttribute("role", "img");
    figure.append(make("span", "axis", "what the block reads →"), side.canvas, make("span", "axis", "what it adds: downwards"), side.caption);
    element("products").append(figure);
    return side;
  });
  let shown = [];
  const draw = () => {
    const most = Math.max(...shown.map(({ product }) => largestBut(product, 0.005)), 1e-12);
    shown.forEach(({ product }, k) => {
      const image = picture(verdict.width, verdict.width, (i, j) => product[i * verdict.width + j], [-most, most], DIVERGING_TABLE);
      sides[k].canvas.width = sides[k].canvas.height = verdict.width;
      sides[k].canvas.getContext("2d").drawImage(image, 0, 0);
    });
  };
  redraws.push(draw);

  return (pair) => {
    const matched = blockOfRow(edge, pair.row);
    const isMatched = pair.row === matched?.row && pair.column === matched.column;
    const other = isMatched ? bestRival(edge, matched) : pair;
    shown = [["Matched", matched], [isMatched ? "Best rival" : "Chosen", other]]
      .filter(([, one]) => one !== null)
      .map(([title, one]) => ({ title, pair: one, product: productOf(content, one) }));
    sides.forEach(({ caption, canvas }, k) => {
      canvas.parentElement.hidden = k >= shown.length;
      if (k >= shown.length) return;
      const { title, pair: one, product } = shown[k];
      const text = `${pairName(edge, one)}: score ${short(scoreOf(edge, one.row, one.column))}, trace ${short(traceOf(product, verdict.width))}`;
      caption.replaceChildren(make("strong", "", `${title}. `), text);
      canvas.setAttribute("aria-label", `W_out W_in of ${text}`);
    });
    draw();
  };
}

/** The absolute value that so small a share of the numbers exceeds. */
function largestBut(product, share) {
  const sorted = product.map(Math.abs).sort();
  return sorted[Math.floor((1 - share) * (sorted.length - 1))];
}

/** The pair with the best rival of a block; by its inp layer alone where the search formed it. */
function bestRival(edge, { row, column, match }) {
  const { rows, columns } = edge;
  if (match) {
    if (match.rival === null) return null;
    const [asRow, asColumn] = [rows.indexOf(match.rival), columns.indexOf(match.rival)];
    return asColumn >= 0 && columns[asColumn] !== rows[row] ? { row, column: asColumn } : { row: asRow, column };
  }
  let best = null;
  for (let other = 0; other < columns.length; other++) {
    if (other === column || columns[other] === rows[row]) continue;
    if (best === null || scoreOf(edge, row, other) > scoreOf(edge, row, best)) best = other;
  }
  return best === null ? null : { row, column: best };
}
