(() => {
  const reach = () => {
    const at = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (at instanceof HTMLDetailsElement) at.open = true;
  };
  addEventListener("hashchange", reach);
  reach();
  for (const box of document.querySelectorAll(".search")) {
    const items = [...box.parentElement.querySelectorAll(".item")];
    box.hidden = false;
    box.querySelector("input").addEventListener("input", event => {
      const wanted = event.target.value.toLowerCase().split(/\s+/);
      for (const item of items) {
        const text = (item.querySelector("summary") || item).textContent.toLowerCase();
        item.hidden = !wanted.every(word => text.includes(word));
      }
    });
  }
})();
