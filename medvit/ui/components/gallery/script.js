let landing = null; // picks what gets the focus on the page that is turned to

function turn(button, land) {
  if (!button || button.disabled) return;
  landing = land;
  trigger("turn", { number: Number(button.dataset.page) });
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.index !== undefined) trigger("select", { index: Number(button.dataset.index) });
  if (button.dataset.page !== undefined) {
    const next = button.dataset.turn;
    turn(button, () => element.querySelector(`nav [data-turn="${next}"]:enabled`) || element.querySelector("nav button:enabled"));
  }
});

// The arrow keys walk from picture to picture, and at either end to the next page; Page Up and Down turn pages.
element.addEventListener("keydown", (event) => {
  const tiles = [...element.querySelectorAll("button.tile")];
  const columns = tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length;
  const step = {
    ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -Infinity, PageDown: Infinity,
  }[event.key];
  if (!step || !event.target.closest(".tile, nav")) return;
  event.preventDefault();
  const next = tiles[tiles.indexOf(event.target.closest("button")) + step];
  if (next && event.target.closest(".tile")) return next.focus();
  const pages = element.querySelectorAll("nav button");
  const button = pages[step > 0 ? 1 : 0];
  if (event.target.closest("nav")) return button?.click();
  turn(button, () => (step > 0 ? element.querySelector("button.tile") : [...element.querySelectorAll("button.tile")].pop()));
});
watch("value", () => { landing?.()?.focus(); landing = null; });
