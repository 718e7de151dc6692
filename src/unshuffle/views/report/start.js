// Put the parts together.

async function start() {
  setUpTheme();
  const content = await readContent();
  showVerdict(content);
  const compare = productsView(content);
  let press = () => {};
  const select = scoresView(content, (place, edge, pair) => {
    if (pair) compare(pair);
    press(place);
  });
  press = showChain(content, select);
  select(weakestPlace(content));
  replayView(content);
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  element("failure").textContent = `This page could not be drawn: ${error.message}. It needs a browser of 2024 or later.`;
  element("failure").hidden = false;
  throw error;
});
