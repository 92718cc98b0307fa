/* torchaudio 2.11's wheel is linked against CUDA even where torch is a CPU build. These are the CUDA functions it names:
 * each returns an error code (1: invalid value), so a call would fail, and on a CPU none is ever made. Compiled three times,
 * once for each library that the wheel asks for. */
#define STUB(name) int name(void) { return 1; }

#ifdef CUDART
STUB(__cudaGetKernel) STUB(__cudaLaunchKernel) STUB(__cudaPopCallConfiguration) STUB(__cudaPushCallConfiguration)
STUB(__cudaRegisterFatBinaryEnd) STUB(__cudaRegisterFunction) STUB(__cudaRegisterVar) STUB(__cudaUnregisterFatBinary)
STUB(cudaGetErrorName) STUB(cudaGetLastError) STUB(cudaMemcpy2DAsync) STUB(cudaMemcpyAsync) STUB(cudaMemset)
STUB(cudaMemsetAsync) STUB(cudaSetDevice) STUB(cudaStreamSynchronize)
/* Called when the library is loaded: the handle is only ever handed back to the functions above. */
void **__cudaRegisterFatBinary(void *binary) { static void *handle; (void)binary; return &handle; }
#else
STUB(aoti_torch_device_type_cuda) STUB(aoti_torch_get_current_cuda_stream) STUB(torch_c10_cuda_check_msg)
STUB(torch_c10_cuda_free_error_msg) STUB(torch_cuda_stream_synchronize) STUB(torch_get_cuda_stream_from_pool)
STUB(torch_set_current_cuda_stream)
#endif
