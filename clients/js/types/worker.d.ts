import type { Manager, ManagerOptions } from "socket.io-client";

/**
 * Make a worker that holds connections: a module of yours that is started with `worker: () => new Worker(…)`. Other
 * options of the stock client that cannot be posted to a worker, such as `parser`, are given here.
 */
export function serveWorker(
  options: { Manager: typeof Manager | Promise<typeof Manager> } & Partial<ManagerOptions>,
): void;
