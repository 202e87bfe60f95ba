element.addEventListener("click", (event) => {
  const map = element.querySelector("img.map");
  const action = event.target.closest("button")?.dataset.do;
  if (action === "enlarge") map.requestFullscreen();
  if (action === "save") Object.assign(document.createElement("a"), { href: map.src, download: "map.png" }).click();
  if (event.target.tagName !== "IMG") return;
  if (document.fullscreenElement) return document.exitFullscreen();
  const box = event.target.getBoundingClientRect();
  trigger("select", { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
});

// While the button is held down, by mouse, touch or key, the picture is displayed without the map.
function hold(down) {
  const figure = element.querySelector(".over");
  if (!figure) return;
  figure.style.setProperty("--picture", `url("${element.querySelector("img:not(.map)").src}")`);
  figure.classList.toggle("bare", down);
}
const isHold = (event) => event.target.closest?.("[data-do='hold']");
const isPress = (event) => event.key === " " || event.key === "Enter";

element.addEventListener("pointerdown", (event) => {
  if (!isHold(event) || event.button) return;
  event.target.setPointerCapture(event.pointerId); // also when it is released elsewhere
  hold(true);
});
for (const name of ["pointerup", "pointercancel", "lostpointercapture", "focusout"]) {
  element.addEventListener(name, () => hold(false));
}
element.addEventListener("keydown", (event) => {
  if (!isHold(event) || !isPress(event)) return;
  event.preventDefault();
  hold(true);
});
element.addEventListener("keyup", (event) => { if (isPress(event)) hold(false); });
element.addEventListener("contextmenu", (event) => { if (isHold(event)) event.preventDefault(); });
