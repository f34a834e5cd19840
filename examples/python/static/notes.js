// Notes of other windows come as events, words over a WebSocket; both come back by themselves.
new EventSource("/live/events").onmessage = event => {
  const item = document.createElement("li");
  item.textContent = event.data;
  document.getElementById("notes").prepend(item);
};
function talk() {
  const socket = new WebSocket(`ws://${location.host}/live/talk`);
  socket.onmessage = event => { document.getElementById("said").textContent = event.data; };
  socket.onclose = () => setTimeout(talk, 1000);
  document.getElementById("say").onchange = event => { socket.send(event.target.value); event.target.value = ""; };
}
talk();
