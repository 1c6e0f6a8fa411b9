#!/usr/bin/env node
// npm links programs when it installs, before anything is built: what it links must be in the repository.
import '../dist/main.js';
