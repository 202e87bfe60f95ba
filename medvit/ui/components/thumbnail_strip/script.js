element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) trigger("select", { index: Number(button.dataset.index) });
});

// The arrow keys walk through the pictures: each step selects the next one, as a click does.
let walked = -1; // the picture that the keys selected last
const all = () => [...element.querySelectorAll("button")];

element.addEventListener("keydown", (event) => {
  const buttons = all();
  const columns = buttons.filter((button) => button.offsetTop === buttons[0].offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  const next = step && buttons[buttons.indexOf(event.target.closest("button")) + step];
  if (!next) return;
  event.preventDefault();
  walked = buttons.indexOf(next);
  next.focus();
  next.click();
});
element.addEventListener("pointerdown", () => { walked = -1; });
// The answer may draw the pictures anew, and the focus would be lost.
watch("value", () => {
  if (walked >= 0 && document.activeElement === document.body) all()[walked]?.focus();
});
