// The view, the description below the cells, the arrow keys, and the click that Python handles.
const hover = element.querySelector(".hover");
const explanation = hover.textContent;
element.dataset.view = "counts";

const buttons = () => [...element.querySelectorAll("button[data-row]")];
const buttonAt = (target) => target.closest ? target.closest("button[data-row]") : null;
const describe = (button) => { hover.textContent = button ? button.getAttribute("aria-label") : explanation; };

element.addEventListener("change", (event) => {
  if (event.target.name === "matrix-view") element.dataset.view = event.target.value;
});

element.addEventListener("click", (event) => {
  const button = buttonAt(event.target);
  if (!button || button.getAttribute("aria-disabled")) return;
  for (const other of buttons()) other.removeAttribute("aria-current");
  button.setAttribute("aria-current", "true");
  trigger("click", { row: Number(button.dataset.row), column: Number(button.dataset.column) });
});

element.addEventListener("pointerover", (event) => describe(buttonAt(event.target)));
element.addEventListener("pointerleave", () => describe(null));

// One cell at a time is in the order of the tab key (roving tabindex); the arrows move it.
element.addEventListener("focusin", (event) => {
  const button = buttonAt(event.target);
  if (!button) return;
  for (const other of buttons()) other.tabIndex = other === button ? 0 : -1;
  describe(button);
});

const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
element.addEventListener("keydown", (event) => {
  const button = buttonAt(event.target);
  const step = steps[event.key];
  if (!button || !step) return;
  event.preventDefault();
  const row = Number(button.dataset.row) + step[0];
  const column = Number(button.dataset.column) + step[1];
  const next = element.querySelector(`button[data-row="${row}"][data-column="${column}"]`);
  if (next) next.focus();
});

watch("value", () => {
  for (const button of buttons()) button.removeAttribute("aria-current");
  describe(null);
});
