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
