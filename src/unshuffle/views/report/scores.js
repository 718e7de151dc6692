// The score matrix, which answers to mouse, touch and keyboard.

const LENS = 15; // pairs across in the enlarged surroundings
const LENS_BELOW = 9; // pixels a pair, from which on no enlargement is needed

/** Rows and columns in the sequence of the network; layers without a place there come last. */
function networkSequence({ chain, rows, columns, place }) {
  const far = chain.length;
  const rank = (pieces, used) => {
    const first = new Map(used.map((index, k) => [index, k]));
    return [...pieces.keys()].sort((a, b) =>
      (first.get(a) ?? far + (place.get(pieces[a]) ?? far)) - (first.get(b) ?? far + (place.get(pieces[b]) ?? far)));
  };
  return {
    rows: rank(rows, chain.flatMap((block) => (block ? [block.row] : []))),
    columns: rank(columns, chain.flatMap((block) => (block ? [block.column] : []))),
  };
}

const pileSequence = ({ rows, columns }) => ({ rows: [...rows.keys()], columns: [...columns.keys()] });

/** From the score that one in a hundred pairs falls below to the highest. */
function scoreRange(scores) {
  const sorted = Float32Array.from(scores).sort();
  return [sorted[Math.floor(sorted.length / 100)], sorted.at(-1)];
}

/** A pair's score, and how it stands to the matched pair. */
function pairText(edge, { row, column }) {
  const { ids, rows, columns, chain } = edge;
  const score = scoreOf(edge, row, column);
  const matched = blockOfRow(edge, row);
  const said = [`${pairName(edge, { row, column })}: score ${short(score)}.`];
  if (rows[row] === columns[column]) {
    said.push("One piece cannot be both layers of a block.");
  } else if (matched === null) {
    said.push(`${ids[rows[row]]} is ${rows[row] === edge.last ? "the last layer, in no block" : "in no such pair"}.`);
  } else if (matched.row === row && matched.column === column) {
    const margin = matched.match === null ? "formed by the search against the scores" : `margin ${short(matched.match.margin ?? Infinity)}`;
    const sure = matched.match?.confidence ?? null;
    said.push(`Matched, block ${chain.indexOf(matched) + 1}; ${margin}${sure === null ? "" : `, ${chance(sure)} sure by the scores`}.`);
  } else {
    const behind = scoreOf(edge, matched.row, matched.column) - score;
    const margin = matched.match === null ? "" : `, margin ${short(matched.match.margin ?? Infinity)}`;
    said.push(`${short(Math.abs(behind))} ${behind < 0 ? "above" : "below"} the matched pair of ${ids[rows[row]]}: ${pairName(edge, matched)}${margin}.`);
  }
  return said.join(" ");
}

/** Shows the pairs of one edge at a time; gives back a function that shows the pair of a block. */
function scoresView(content, choose) {
  if (content.edges.length === 0) {
    element("scores-figure").hidden = true;
    element("pair-detail").textContent =
      "Weights say nothing here of which pieces share a block: no two roles of a block share an axis along which its pieces stand out.";
    return choose;
  }
  const canvas = element("scores");
  let edge = null;
  let range = null;
  let sequences = null;
  let sequence = null;
  let cursor = { x: 0, y: 0 };
  let chosen = null;
  let image = null;

  const pairAt = ({ x, y }) => ({ row: sequence.rows[y], column: sequence.columns[x] });
  const cellOf = ({ row, column }) => ({ x: sequence.columns.indexOf(column), y: sequence.rows.indexOf(row) });

  const paint = () => {
    image = picture(edge.rows.length, edge.columns.length,
      (y, x) => scoreOf(edge, sequence.rows[y], sequence.columns[x]), range, CIVIDIS_TABLE);
    const { context, width, height } = cleared(element("scores-map"));
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, 0, width, height);
  };
  const mark = () => {
    const { context, width, height } = cleared(canvas);
    drawMarks(context, { width: width / edge.columns.length, height: height / edge.rows.length }, width, height, cursor, chosen && cellOf(chosen));
    drawLens(image, cursor, width / edge.columns.length);
  };
  const move = (x, y) => {
    const last = { x: edge.columns.length - 1, y: edge.rows.length - 1 };
    cursor = { x: Math.min(Math.max(x, 0), last.x), y: Math.min(Math.max(y, 0), last.y) };
    element("pair-detail").textContent = pairText(edge, pairAt(cursor));
    mark();
  };
  const select = (pair) => {
    chosen = pair;
    const { x, y } = cellOf(pair);
    move(x, y);
    choose(edge.chain.findIndex((block) => block?.row === pair.row && block.column === pair.column), edge, pair);
  };
  const show = (next) => {
    edge = next;
    range = scoreRange(edge.scores);
    sequences = { network: networkSequence(edge), pile: pileSequence(edge) };
    sequence = sequences[document.querySelector("input[name=sequence]:checked").value];
    chosen = null;
    element("scores-caption").textContent =
      `Score of every ${edge.names[0]} (down) with every ${edge.names[1]} (across), by ${edge.signal === "fused" ? "log-odds" : edge.signal}. Point at a pair to read it` +
      `${content.weights ? "; choose it to compare its product with that of the matched pair" : ""}. After matching, the blocks of the network lie on the diagonal.`;
    element("scores-across").textContent = `${edge.names[1]} →`;
    element("scores-down").textContent = `${edge.names[0]} →`;
    element("scores-layers").style.aspectRatio = `${edge.columns.length} / ${edge.rows.length}`;
    element("scale-low").textContent = short(range[0]);
    element("scale-high").textContent = short(range[1]);
    paint();
    move(cursor.x, cursor.y);
  };
  const moveToPointer = (event) => {
    const box = canvas.getBoundingClientRect();
    move(Math.floor(((event.clientX - box.left) / box.width) * edge.columns.length),
      Math.floor(((event.clientY - box.top) / box.height) * edge.rows.length));
  };

  canvas.addEventListener("pointermove", moveToPointer);
  canvas.addEventListener("click", (event) => {
    if (event.detail > 0) moveToPointer(event); // a real click; a keyboard's has no place
    select(pairAt(cursor));
  });
  canvas.addEventListener("keydown", (event) => {
    const { x, y } = cursor;
    const keys = {
      ArrowLeft: [x - 1, y], ArrowRight: [x + 1, y], ArrowUp: [x, y - 1], ArrowDown: [x, y + 1],
      Home: [0, y], End: [Infinity, y], PageUp: [x, y - 10], PageDown: [x, y + 10],
    };
    if (event.key in keys) move(...keys[event.key]);
    else if (event.key === "Enter" || event.key === " ") select(pairAt(cursor));
    else return;
    event.preventDefault();
  });
  for (const input of document.getElementsByName("sequence")) {
    input.addEventListener("change", () => {
      const pair = pairAt(cursor);
      sequence = sequences[input.value];
      cursor = cellOf(pair);
      paint();
      mark();
    });
  }

  const chooser = element("edge");
  for (const [k, { names }] of content.edges.entries()) {
    const option = make("option", "", `${names[0]} with ${names[1]}`);
    option.value = k;
    chooser.append(option);
  }
  chooser.parentElement.hidden = content.edges.length === 1;
  chooser.addEventListener("change", () => show(content.edges[chooser.value]));
  show(content.edges[0]);
  redrawn(canvas, () => {
    paint();
    mark();
  });
  redrawn(element("scale"), () => {
    const { context, width, height } = cleared(element("scale"));
    context.drawImage(picture(1, 256, (_, k) => k, [0, 255], CIVIDIS_TABLE), 0, 0, width, height);
  });
  return (place) => {
    if (edge.chain[place]) select(edge.chain[place]);
    else choose(place);
  };
}

/** Lines through the pair that is pointed at, and a frame around the one that was chosen. */
function drawMarks(context, cell, width, height, { x, y }, chosen) {
  const frame = ({ x: column, y: row }, shade, thickness) => {
    context.strokeStyle = shade;
    context.lineWidth = thickness;
    const grow = thickness / 2;
    context.strokeRect(column * cell.width - grow, row * cell.height - grow, cell.width + thickness, cell.height + thickness);
  };
  context.fillStyle = "rgb(255 255 255 / 0.14)";
  context.fillRect(0, y * cell.height, width, cell.height);
  context.fillRect(x * cell.width, 0, cell.width, height);
  if (chosen) {
    frame(chosen, "#000", 4);
    frame(chosen, "#ff5d5d", 2);
  }
  frame({ x, y }, "#000", 3);
  frame({ x, y }, "#fff", 1.5);
}

/** The surroundings of a pair, enlarged, where pairs are too small on the matrix. */
function drawLens(image, { x, y }, cell) {
  const lens = element("lens");
  lens.hidden = cell >= LENS_BELOW;
  if (lens.hidden) return;
  const { context, width } = cleared(lens);
  const left = x - (LENS - 1) / 2;
  const top = y - (LENS - 1) / 2;
  const size = width / LENS;
  context.imageSmoothingEnabled = false;
  context.drawImage(image, -left * size, -top * size, image.width * size, image.height * size);
  context.strokeStyle = "#fff";
  context.lineWidth = 2;
  context.strokeRect((x - left) * size, (y - top) * size, size, size);
}
