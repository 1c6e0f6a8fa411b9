export { openQueues, type QueueOptions, type Queues } from './open-queue.js';
export { type Consumer, maxRelayMessageBytes, Relay, WakeQueue, type WakeUp } from './ports.js';
