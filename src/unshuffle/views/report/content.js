// What the page was given, and what follows from it.

const ARRAYS = { float32: Float32Array, int32: Int32Array, int8: Int8Array };

/** The values and arrays in the page. */
async function readContent() {
  const values = JSON.parse(element("values").textContent);
  const buffer = await unpacked(element("arrays").textContent);
  for (const [name, { type, start, shape }] of Object.entries(values.arrays)) {
    const count = shape.reduce((product, extent) => product * extent, 1);
    values[name] = new ARRAYS[type](buffer, start, count);
  }
  for (const contest of [...(values.certificate?.neighbours ?? []), ...(values.certificate?.pairs ?? [])]) {
    [contest.first, contest.second] = contest.places;
  }
  return { ...values, ...placesOf(values) };
}

/** The bytes that were gzipped and written in base 64. */
async function unpacked(text) {
  const packed = atob(text);
  const bytes = new Uint8Array(packed.length);
  for (let k = 0; k < packed.length; k++) bytes[k] = packed.charCodeAt(k);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** The place of each piece; and each edge, with the pairs of the network: null where a block has none. */
function placesOf(values) {
  const { blocks, ids, last, roles } = values;
  const place = new Map();
  blocks.forEach((pieces, k) => pieces.forEach((piece) => { if (piece >= 0) place.set(piece, k); }));
  const edges = values.edges.map((edge, k) => {
    const [rowOf, columnOf] = [edge.rows, edge.columns].map((pieces) => new Map(pieces.map((piece, at) => [piece, at])));
    const matchOf = new Map(edge.matches.map((match) => [`${match.row},${match.column}`, match]));
    const [first, second] = edge.roles;
    const chain = blocks.map((pieces) => {
      const [row, column] = [rowOf.get(pieces[first]), columnOf.get(pieces[second])];
      if (row === undefined || column === undefined) return null;
      return { row, column, match: matchOf.get(`${row},${column}`) ?? null };
    });
    return { ...edge, ids, last, place, chain, names: edge.roles.map((role) => roles[role]), scores: values[`scores${k}`] };
  });
  return { place, edges };
}

/** The block of the assembled network that the piece of a row is in; null for one in no such pair. */
const blockOfRow = (edge, row) => edge.chain[edge.place.get(edge.rows[row])] ?? null;

const scoreOf = (edge, row, column) => edge.scores[row * edge.columns.length + column];

/** "inp 3 with out 8". */
const pairName = ({ ids, names, rows, columns }, { row, column }) =>
  `${names[0]} ${ids[rows[row]]} with ${names[1]} ${ids[columns[column]]}`;

/** The pieces of a block by their roles: "inp 3 with out 8", "norm 3, up 8, down 5". */
function blockName({ ids, roles }, pieces) {
  const named = pieces.flatMap((piece, role) => (piece < 0 ? [] : [`${roles[role]} ${ids[piece]}`]));
  return named.join(named.length === 2 ? " with " : ", ");
}

/** The ids of an order, as in an answer; the last layer follows where all blocks stand. */
function orderText({ ids, last, blocks }, order) {
  const names = order.flatMap((pieces) => pieces.filter((piece) => piece >= 0).map((piece) => ids[piece]));
  if (order.length === blocks.length && last !== null) names.push(ids[last]);
  return names.join(",");
}
