import { type LayerForm, probeLayerForm } from '@berth/image';
import type { Logger } from 'pino';
import type { AgentConfig } from '../config.js';

/**
 * What layers become on this node: EROFS images where the machine mounts them, directories elsewhere or where the operator wants those; told in the log. Throws
 * when the operator wants images and this machine mounts none.
 */
export async function chooseLayerForm(
  choice: AgentConfig['snapshotter'],
  log: Logger,
  ...probe: Parameters<typeof probeLayerForm>
): Promise<LayerForm> {
  if (choice === 'overlay') {
    log.info({ layers: 'directory' }, 'layers are unpacked into directories, as BERTH_SNAPSHOTTER says');
    return 'directory';
  }
  const { form, reason } = await probeLayerForm(...probe);
  if (form === 'image') log.info({ layers: form }, 'layers become EROFS images');
  else if (choice === 'erofs')
    throw new Error(`BERTH_SNAPSHOTTER=erofs: this machine mounts no EROFS images (${reason}); set auto or overlay`);
  else log.warn({ layers: form, reason }, 'layers are unpacked into directories: this machine mounts no EROFS images');
  return form;
}
