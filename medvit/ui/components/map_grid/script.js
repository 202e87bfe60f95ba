element.addEventListener("click", (event) => {
  const name = event.target.closest("button")?.dataset.name;
  if (name) trigger("select", { name });
});
