element.addEventListener("click", (event) => {
  const picture = element.querySelector("img");
  const action = event.target.closest("button")?.dataset.do;
  if (action === "enlarge") picture.requestFullscreen();
  if (action === "save") Object.assign(document.createElement("a"), { href: picture.src, download: "map.png" }).click();
  if (event.target !== picture) return;
  if (document.fullscreenElement) return document.exitFullscreen();
  const box = picture.getBoundingClientRect();
  trigger("select", { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
});
