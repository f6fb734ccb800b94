# For which GPUs the CUDA back end is compiled, when nobody says so by CUDAARCHS or
# CMAKE_CUDA_ARCHITECTURES: for those of this machine; without one, for all. Every architecture is a
# compilation of its own, so that "all" takes several times as long.

# The last one is also kept as PTX (no -real), which the driver of a later GPU compiles by itself.
set(treefilter_all_architectures 75-real 80-real 86-real 89-real 90-real 100-real 120)

# Sets `architectures`, and `note`: a sentence for the user who builds.
function(treefilter_cuda_architectures compiler architectures note)
  execute_process(COMMAND ${compiler} --list-gpu-arch OUTPUT_VARIABLE known ERROR_QUIET
                  RESULT_VARIABLE failed)  # compute_75, compute_80, …
  find_program(TREEFILTER_NVIDIA_SMI nvidia-smi NO_CACHE)
  set(found "")
  if(TREEFILTER_NVIDIA_SMI AND NOT failed)
    execute_process(COMMAND ${TREEFILTER_NVIDIA_SMI} --query-gpu=compute_cap --format=csv,noheader
                    OUTPUT_VARIABLE capabilities ERROR_QUIET RESULT_VARIABLE failed)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]+" capabilities "${capabilities}")
    list(REMOVE_DUPLICATES capabilities)
    foreach(capability IN LISTS capabilities)
      string(REPLACE "." "" number ${capability})
      if(failed OR number LESS 75 OR NOT known MATCHES "compute_${number}[^0-9]")
        set(found "")  # this compiler or this library has no code for it: build what there is
        break()
      endif()
      list(APPEND found ${number}-real)
    endforeach()
  endif()
  if(found)
    list(JOIN found ", " names)
    set(${note} "CUDA code for the GPU of this machine only (${names}). For others as well, set \
CUDAARCHS, for example CUDAARCHS=all-major." PARENT_SCOPE)
  else()
    set(found "")
    foreach(architecture IN LISTS treefilter_all_architectures)  # those that this compiler knows
      string(REGEX REPLACE "-real$" "" number ${architecture})
      if(NOT known OR known MATCHES "compute_${number}[^0-9]")
        list(APPEND found ${architecture})
      endif()
    endforeach()
    list(LENGTH found count)
    set(${note} "no GPU found that this compiler has code for: CUDA code for all ${count} \
architectures, which takes about ${count} times as long as for one: minutes of processor time for each. \
Faster: CUDAARCHS=90 for one of them (90: H100, 89: RTX 40, 86: RTX 30, 80: A100, 75: T4), or \
TREEFILTER_CUDA=OFF for the CPU only." PARENT_SCOPE)
  endif()
  set(${architectures} "${found}" PARENT_SCOPE)
endfunction()

# pip shows nothing of a build that goes well, however long it takes, unless it is called with -v. What
# must be known before the wait goes to the terminal itself, where there is one.
function(treefilter_say text)
  message(STATUS "treefilter: ${text}")
  if(UNIX)
    execute_process(COMMAND sh -c "test -w /dev/tty && printf '\\ntreefilter: %s\\n' \"$1\" > /dev/tty"
                            treefilter "${text}" OUTPUT_QUIET ERROR_QUIET RESULT_VARIABLE ignored)
  endif()
endfunction()
