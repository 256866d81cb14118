// A fan-out by `ws` or `socket.io`, as their own documentation does it: `node peer.js ws` or `node peer.js socket.io`.
// Speaks as lml_live/bench/orders.py says: {"port":N} first, then {} for each {"type":"send",…} once its ticks are
// over. Ends with its stdin.
"use strict";
const http = require("node:http");
const readline = require("node:readline");

const server = http.createServer();
let sendToAll; // (frame_bytes) => a function that sends one such frame to everybody

if (process.argv[2] === "ws") {
  const { WebSocketServer, WebSocket } = require("ws");
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  sendToAll = (bytes) => {
    const text = " ".repeat(Math.max(0, bytes - (bytes < 128 ? 2 : 4)));
    return () => {
      for (const client of sockets.clients) if (client.readyState === WebSocket.OPEN) client.send(text);
    };
  };
} else {
  const { Server } = require("socket.io");
  const io = new Server(server, { transports: ["websocket"], perMessageDeflate: false, pingInterval: 600000 });
  io.on("connection", (socket) => socket.join("event"));
  sendToAll = (bytes) => {
    const around = '42["d",""]'.length + (bytes < 128 ? 2 : 4);
    const text = " ".repeat(Math.max(0, bytes - around));
    return () => io.to("event").emit("d", text);
  };
}

function obey(order) {
  const send = sendToAll(order.frame_bytes);
  const began = performance.now();
  let sent = 0;
  const tick = () => {
    if (sent === order.ticks) {
      console.log("{}");
      return;
    }
    send();
    sent += 1;
    setTimeout(tick, Math.max(0, began + sent * order.tick_ms - performance.now()));
  };
  tick();
}

server.listen(0, "127.0.0.1", 4096, () => {
  console.log(JSON.stringify({ port: server.address().port }));
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", (line) => obey(JSON.parse(line)));
  lines.on("close", () => process.exit(0));
});
