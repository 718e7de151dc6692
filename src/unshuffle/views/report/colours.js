// Colours: those of the page, and the maps that turn numbers into colours.

const probe = make("span");

/** A colour of the style sheet as it is now, in light or dark. */
function colour(name) {
  probe.hidden = true;
  probe.style.color = `var(--${name})`;
  if (!probe.isConnected) document.body.append(probe);
  return getComputedStyle(probe).color;
}

/** Red, green and blue of a colour of the style sheet. */
const parts = (name) => colour(name).match(/[\d.]+/g).slice(0, 3).map(Number);

/** Set the button up that changes between light and dark. */
function setUpTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let dark = system.matches;
  const apply = () => {
    root.style.colorScheme = dark ? "dark" : "light";
    root.dataset.theme = dark ? "dark" : "light";
    element("theme").textContent = dark ? "Light" : "Dark";
    element("theme").setAttribute("aria-label", `Use ${dark ? "light" : "dark"} colours`);
    redraws.forEach((draw) => draw());
  };
  element("theme").addEventListener("click", () => { dark = !dark; apply(); });
  system.addEventListener("change", () => { dark = system.matches; apply(); });
  apply();
}

// Cividis (Nuñez, Anderton and Renslow, 2018): even steps of lightness, also without colour vision.
const CIVIDIS = ["00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "fee838"]
  .map((text) => [0, 2, 4].map((at) => parseInt(text.slice(at, at + 2), 16)));

/** Between colours that are spread evenly over 0 … 1. */
function blend(colours, share) {
  const at = Math.min(Math.max(share, 0), 1) * (colours.length - 1);
  const below = Math.min(Math.floor(at), colours.length - 2);
  return colours[below].map((part, k) => part + (at - below) * (colours[below + 1][k] - part));
}

/** 256 colours of a map, as RGBA. */
function lookup(colours) {
  const table = new Uint8ClampedArray(4 * 256).fill(255);
  for (let k = 0; k < 256; k++) table.set(blend(colours, k / 255), 4 * k);
  return table;
}

const CIVIDIS_TABLE = lookup(CIVIDIS);

// Blue for negative numbers, orange for positive ones, white for zero: the larger, the darker.
const DIVERGING_TABLE = lookup([[12, 60, 130], [70, 140, 210], [255, 255, 255], [230, 140, 50], [150, 60, 0]]);

/** A picture with a pixel for each number: `value(row, column)` in low … high. */
function picture(rows, columns, value, [low, high], table) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const scale = 255 / (high - low || 1);
  let at = 0;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at += 4) {
      const level = Math.round((value(row, column) - low) * scale);
      const shade = 4 * Math.min(Math.max(level, 0), 255);
      image.data.set(table.subarray(shade, shade + 4), at);
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
