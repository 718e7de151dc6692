// The assembled network as a chain of blocks, with what the certificate says of each.

const DECIDED = 0.99; // the probability from which on certificates make a statement

const decided = (contest) => contest.confidence >= DECIDED;

/** How far above the floor the error is with the rival, as a share of the farthest. */
function shareOf(certificate) {
  const decade = ({ mse }) => (mse === null ? Infinity : Math.max(Math.log10(mse / certificate.floor), 0));
  const known = [...certificate.neighbours, ...certificate.pairs].map(decade).filter(Number.isFinite);
  const farthest = Math.max(...known, 1);
  return (contest) => `${Math.round(100 * Math.min(Math.max(decade(contest) / farthest, 0.04), 1))}%`;
}

/** What a rival does to the error, and how likely the statement against it is. */
function contestText(certificate, contest) {
  const times = contest.mse === null ? Infinity : contest.mse / certificate.floor;
  const rows = contest.rows_needed === null ? "" : `; about ${counted(contest.rows_needed, "row")} would decide`;
  return `error ${short(contest.mse)}, ${short(times)} × what noise or rounding explains (${chance(contest.confidence)} sure${rows})`;
}

function certificateText({ certificate, blocks }) {
  if (certificate === null) {
    return "There is no certificate: this arrangement does not reproduce the record, so nothing is proved of any block.";
  }
  const { groups } = certificate;
  const open = groups.filter((group) => group.length > 1);
  const pairs = certificate.pairs.filter((contest) => !decided(contest)).length;
  if (certificate.decided) {
    return `The record decides all of it: every two neighbours (${blocks.length - 1}) and every pair (${blocks.length}) against its best rival.`;
  }
  const parts = [];
  if (certificate.chance > 0.01) {
    parts.push("whether it is reproduced by chance, since its predictions are so few.");
  } else if (open.length > 0) {
    const places = open.map((group) => `${group[0] + 1} to ${group.at(-1) + 1}`);
    parts.push(`the order within ${counted(open.length, "run")} of blocks (places ${places.slice(0, 12).join(", ")}${places.length > 12 ? ", …" : ""}).`);
  }
  if (pairs > 0) parts.push(`${counted(pairs, "pair")}.`);
  const rows = certificate.rows_needed;
  const more = rows === null ? "" : ` About ${counted(rows, "row")} with predictions would decide it.`;
  return `The record leaves open: ${parts.join(" ")}${more}`;
}

function showChain(content, choose) {
  const { blocks, certificate, ids, last, roles } = content;
  element("certificate").textContent = certificateText(content);
  const list = element("chain");
  list.classList.toggle("wide", roles.some((name) => name.length > 3));
  const share = certificate && shareOf(certificate);
  const pairs = new Map(certificate?.pairs.map((contest) => [contest.first, contest]));
  const tiles = blocks.map((pieces, place) => {
    const tile = blockTile(content, pieces, place);
    mark(tile, pairs.get(place), share);
    const item = make("li");
    item.append(tile, linkAfter(certificate?.neighbours[place], share));
    list.append(item);
    tile.addEventListener("click", () => choose(place));
    for (const event of ["focus", "pointerenter"]) {
      tile.addEventListener(event, () => { element("block-detail").textContent = blockText(content, place); });
    }
    return tile;
  });
  if (last !== null) list.append(lastTile(ids[last]));
  element("block-detail").textContent = blockText(content, weakestPlace(content));
  showKey(certificate);
  showCertificate(content);
  showPath(content);
  showNorms(content);
  return (place) => {
    tiles.forEach((tile, k) => tile.setAttribute("aria-pressed", String(k === place)));
    if (place in tiles) scrolledTo(list, tiles[place]);
  };
}

/** Scroll a list, and not the page, as far as it takes to see a part of it. */
function scrolledTo(list, part) {
  const [seen, box] = [list, part].map((one) => one.getBoundingClientRect());
  list.scrollTop += Math.max(box.bottom - seen.bottom, 0) + Math.min(box.top - seen.top, 0);
}

function blockTile(content, pieces, place) {
  const { ids, roles } = content;
  const tile = make("button");
  tile.type = "button";
  tile.title = `Block ${place + 1}: ${blockName(content, pieces)}`;
  tile.setAttribute("aria-label", tile.title);
  tile.append(make("span", "place", String(place + 1)));
  pieces.forEach((piece, role) => {
    if (piece < 0) return;
    const line = make("span", "id");
    line.append(make("span", "role", roles[role]), String(ids[piece]));
    tile.append(line);
  });
  tile.append(make("span", "strength"));
  return tile;
}

/** Show how sure the pair of a tile is. */
function mark(tile, contest, share) {
  if (contest === undefined) return;
  tile.classList.add(decided(contest) ? "decided" : "open");
  tile.style.setProperty("--share", share(contest));
}

/** What lies between a block and the next. */
function linkAfter(contest, share) {
  const link = make("span", "link");
  if (contest !== undefined) {
    link.classList.add(decided(contest) ? "decided" : "open");
    link.style.setProperty("--share", share(contest));
  }
  return link;
}

function lastTile(name) {
  const item = make("li");
  const tile = make("span", "last");
  tile.title = `Last layer: ${name}`;
  tile.append(make("span", "place", "last"), make("span", "id", String(name)));
  item.append(tile);
  return item;
}

/** All that is known of a block, in sentences; of its pairs, of the weakest. */
function blockText(content, place) {
  const { blocks, certificate, edges, ids } = content;
  const said = [`Block ${place + 1}: ${blockName(content, blocks[place])}.`];
  const pairs = edges.flatMap((edge) => (edge.chain[place] ? [{ edge, pair: edge.chain[place] }] : []));
  if (pairs.length > 0) {
    const { edge, pair } = pairs.reduce((best, one) => (marginOf(one.pair) < marginOf(best.pair) ? one : best));
    const which = edges.length > 1 ? `${pairName(edge, pair)}. ` : "";
    if (pair.match === null) said.push(`${which}The search formed this pair against the scores.`);
    else said.push(which + (pair.match.rival === null ? "It has no rival." : weightsText(ids[pair.match.rival], pair.match.margin)));
  }
  const contest = certificate?.pairs.find(({ first }) => first === place);
  if (contest) said.push(`With a layer exchanged with block ${contest.second + 1}: ${contestText(certificate, contest)}.`);
  const next = certificate?.neighbours[place];
  if (next) said.push(`Exchanged with block ${place + 2}: ${contestText(certificate, next)}.`);
  return said.join(" ");
}

/** How sure a pair of the network is by the scores; those that the search formed are the least sure. */
function marginOf(pair) {
  if (pair === null) return Infinity;
  return pair.match === null ? -Infinity : pair.match.margin ?? Infinity;
}

/** The place of the block with the pair that is least sure by the scores. */
function weakestPlace({ blocks, edges }) {
  const margins = blocks.map((_, place) => Math.min(Infinity, ...edges.map(({ chain }) => marginOf(chain[place]))));
  return margins.indexOf(Math.min(...margins));
}

/** How alike blocks are in what they do with the stream, along their order. */
function showPath({ blocks, similarity }) {
  element("path-figure").hidden = blocks.length < 2;
  const count = Math.sqrt(similarity.length);
  redrawn(element("path"), () => {
    const image = picture(count, count, (y, x) => similarity[y * count + x], [-127, 127], CIVIDIS_TABLE);
    const { context, width, height } = cleared(element("path"));
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, 0, width, height);
  });
}

/** Norms along the depth, where the record was given. */
function showNorms({ stateNorms, stepNorms }) {
  if (!stateNorms) return;
  element("norms-figure").hidden = false;
  logChart(element("norms-plot"), {
    x: [...stateNorms.keys()],
    xLabel: "blocks passed",
    yLabel: "Euclidean norm",
    xRange: [0, Math.max(stateNorms.length - 1, 1)],
    series: [line("state", "accent"), line("step of the block", "doubt", { dash: [6, 4] })],
    lists: [stateNorms, [null, ...stepNorms]],
  });
}

/** How a pair stands to its best rival, by the evidence. */
function weightsText(rival, margin) {
  const verb = margin < 0 ? "trails" : "leads over";
  return `By the scores it ${verb} its best rival, ${rival}, by ${short(Math.abs(margin ?? Infinity))} standard deviations.`;
}

function showKey(certificate) {
  if (certificate === null) return;
  const entries = [
    ["", "decided; the greener, or longer, the more an exchange would show"],
    ["open", "left open by the record"],
  ];
  for (const [className, text] of entries) {
    const entry = make("li", className);
    entry.append(make("i"), text);
    element("chain-key").append(entry);
  }
}

/** The certificate as a chart along the depth. */
function showCertificate({ certificate, blocks }) {
  if (certificate === null || certificate.pairs.length + certificate.neighbours.length === 0) {
    element("certificate-figure").hidden = true;
    return;
  }
  element("certificate-caption").textContent =
    "What the record says against the best rivals: the mean squared error if two neighbours were exchanged, or a layer of " +
    `a block with that of another, on ${counted(certificate.rows, "row")}. All that lies clearly above the floor is decided.`;
  const places = [...blocks.keys()].flatMap((place) => [place + 1, place + 1.5]).slice(0, -1);
  const along = (contests, offset) => {
    const found = new Map(contests.map((contest) => [contest.first + offset, contest.mse]));
    return places.map((place) => found.get(place) ?? null);
  };
  logChart(element("certificate-plot"), {
    x: places,
    xLabel: "place in the network",
    yLabel: "mean squared error",
    xRange: [0, blocks.length + 1],
    series: [
      dots("neighbours exchanged", "accent", 6),
      dots("layers exchanged", "doubt", 6),
      line("floor: noise or rounding", "muted", { dash: [6, 4] }),
    ],
    lists: [along(certificate.neighbours, 1.5), along(certificate.pairs, 1), places.map(() => certificate.floor)],
  });
}
