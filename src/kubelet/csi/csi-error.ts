/**
 * Why a CSI volume cannot be mounted, grown or taken away. Layer: kubelet/csi (pure).
 */
import { type ErrorDetails, KeelsonError } from '../../observe/keelson-error.ts';

/**
 * CSI_DRIVER_MISSING: no driver of that name is registered on this node. CSI_UNSUPPORTED: the driver does not offer what
 * the volume asks for. CSI_NOT_ATTACHED: its VolumeAttachment is missing, failed or not finished. CSI_REFUSED: the driver's
 * final answer. CSI_UNCERTAIN: the driver gave no final answer, so that the volume may be mounted or not. CSI_API: something
 * of the API server that the call needs cannot be had. CSI_RECORD: vol_data.json is damaged. CSI_STILL_MOUNTED: the driver
 * says that it unmounted what is still mounted.
 */
export type CsiErrorCode =
  | 'CSI_DRIVER_MISSING'
  | 'CSI_UNSUPPORTED'
  | 'CSI_NOT_ATTACHED'
  | 'CSI_REFUSED'
  | 'CSI_UNCERTAIN'
  | 'CSI_API'
  | 'CSI_RECORD'
  | 'CSI_STILL_MOUNTED';

export interface CsiErrorDetails extends ErrorDetails {
  /** gRPC status number, when the driver answered or the call failed. */
  grpcStatus?: number;
  /** The driver whose absence or answer it is. */
  driver?: string;
}

export class CsiError extends KeelsonError {
  declare readonly code: CsiErrorCode;
  readonly grpcStatus: number | undefined;
  readonly driver: string | undefined;

  /** @param details.object what it is about: `CSI driver x`, `pod default/web: volume data` */
  constructor(code: CsiErrorCode, message: string, details: CsiErrorDetails & { object: string }) {
    super(code, message, details);
    this.grpcStatus = details.grpcStatus;
    this.driver = details.driver;
  }

  /** Nothing of the call is or will be in effect. */
  get isFinal(): boolean {
    return this.code === 'CSI_REFUSED';
  }
}
