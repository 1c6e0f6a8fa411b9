/** This machine cannot boot the virtual machine; the message says what is missing. */
export class Unavailable extends Error {}
