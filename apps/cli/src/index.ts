export { commands, runCli } from './cli.js';
