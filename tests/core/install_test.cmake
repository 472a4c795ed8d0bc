# Installs the build into a new folder and builds a C program with it, by find_package() and by pkg-config.
# Arguments: BUILD, WORK (a folder to use), CC.
file(REMOVE_RECURSE ${WORK})
function(must)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "failed (${status}): ${ARGN}\n${output}")
  endif()
endfunction()

must(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/first --component gridcentric)
file(RENAME ${WORK}/first ${WORK}/prefix) # an installed tree may be moved
foreach(file bin/gc bin/gc-reaper bin/libgridcentric-run.so share/man/man1/gc.1 share/man/man1/gridcentric.1 include/gridcentric/gc-guest.h include/gridcentric/gc-binding.h include/gridcentric/errors.def)
  if(NOT EXISTS ${WORK}/prefix/${file})
    message(FATAL_ERROR "${file} was not installed")
  endif()
endforeach()

file(WRITE ${WORK}/user/main.c "#include <gridcentric/gc-guest.h>\n#include <stdio.h>\nint main(void) { puts(gc_version()); return 0; }\n")
file(WRITE ${WORK}/user/CMakeLists.txt "cmake_minimum_required(VERSION 3.22)\nproject(user LANGUAGES C)\n"
     "find_package(gridcentric 0.1 REQUIRED)\nadd_executable(user main.c)\n"
     "target_link_libraries(user PRIVATE gridcentric::gridcentric)\n")
must(${CMAKE_COMMAND} -S ${WORK}/user -B ${WORK}/user/build -DCMAKE_PREFIX_PATH=${WORK}/prefix -DCMAKE_C_COMPILER=${CC})
must(${CMAKE_COMMAND} --build ${WORK}/user/build)
must(${WORK}/user/build/user)

file(GLOB_RECURSE pc ${WORK}/prefix/*/gridcentric.pc)
get_filename_component(pc_folder "${pc}" DIRECTORY)
find_program(PKG_CONFIG pkg-config REQUIRED)
set(ENV{PKG_CONFIG_PATH} ${pc_folder})
execute_process(COMMAND ${PKG_CONFIG} --cflags --libs gridcentric OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${PKG_CONFIG} --variable=libdir gridcentric OUTPUT_VARIABLE libdir OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(flags)
must(${CC} ${WORK}/user/main.c -o ${WORK}/user/by_pkg_config ${flags})

# The header compiles without warnings, as C99 and as C++.
set(strict -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only)
foreach(language "-x;c;-std=c99" "-x;c++;-std=c++98" "-x;c++;-std=c++20")
  must(${CC} ${strict} ${language} ${WORK}/user/main.c ${flags})
endforeach()
must(${CMAKE_COMMAND} -E env LD_LIBRARY_PATH=${libdir} ${WORK}/user/by_pkg_config)
