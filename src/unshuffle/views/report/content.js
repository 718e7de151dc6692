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

/** The network block by block, and the place of each piece in it. */
function placesOf({ blocks, columns, rows, matches }) {
  const chain = blocks.map((block) => ({
    row: Math.floor(block / columns.length),
    column: block % columns.length,
  }));
  const place = new Map();
  chain.forEach(({ row, column }, k) => place.set(rows[row], k).set(columns[column], k));
  const matchOf = new Map(matches.map((match) => [match.row * columns.length + match.column, match]));
  chain.forEach((block, k) => { block.match = matchOf.get(blocks[k]) ?? null; });
  return { chain, place };
}

/** The block of the assembled network that the piece of a row is in; null for the last layer. */
const blockOfRow = (content, row) => content.chain[content.place.get(content.rows[row])] ?? null;

const scoreOf = (content, row, column) => content.scores[row * content.columns.length + column];

/** "inp 3 with out 8". */
const pairName = (content, { row, column }) =>
  `inp ${content.ids[content.rows[row]]} with out ${content.ids[content.columns[column]]}`;
