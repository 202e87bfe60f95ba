element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.index !== undefined) trigger("select", { index: Number(button.dataset.index) });
  if (button.dataset.page !== undefined) trigger("turn", { number: Number(button.dataset.page) });
});
