# libgridcentric.so: the C API and nothing else, with what find_package(gridcentric) and pkg-config need.
include(CMakePackageConfigHelpers)

add_library(gridcentric_shared SHARED $<TARGET_OBJECTS:gc_core> ${GC_PARKED_OBJECTS})
add_library(gridcentric::gridcentric ALIAS gridcentric_shared)
target_include_directories(gridcentric_shared INTERFACE $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/core/include>
                                                 $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(gridcentric_shared PRIVATE Threads::Threads ${CMAKE_DL_LIBS} $<BUILD_INTERFACE:gc_warnings>)
# -z now: code that runs while threads are parked must not call the dynamic linker.
target_link_options(gridcentric_shared PRIVATE -Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/cmake/exports.map -Wl,-z,now)
if(NOT GC_SANITIZE)
  target_link_options(gridcentric_shared PRIVATE -Wl,-z,defs)
endif()
set_target_properties(gridcentric_shared PROPERTIES OUTPUT_NAME gridcentric EXPORT_NAME gridcentric SOVERSION ${PROJECT_VERSION_MAJOR} VERSION ${PROJECT_VERSION}
                                             LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cmake/exports.map)

set(gc_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/gridcentric)
install(TARGETS gridcentric_shared EXPORT gridcentricTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT gridcentric)
install(FILES core/include/gridcentric/gc-guest.h core/include/gridcentric/gc-binding.h core/include/gridcentric/errors.def
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/gridcentric COMPONENT gridcentric)
install(EXPORT gridcentricTargets NAMESPACE gridcentric:: DESTINATION ${gc_package_dir} COMPONENT gridcentric)

configure_package_config_file(cmake/gridcentricConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/gridcentricConfig.cmake
                              INSTALL_DESTINATION ${gc_package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/gridcentricConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/gridcentricConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/gridcentricConfigVersion.cmake
        DESTINATION ${gc_package_dir} COMPONENT gridcentric)

# The prefix is relative to the file, so that an installed tree can be moved. The dynamic linker does not search a Python
# package by itself.
if(SKBUILD)
  set(GC_PC_RPATH " -Wl,-rpath,\${libdir}")
endif()
file(RELATIVE_PATH GC_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" GC_PC_PREFIX "\${pcfiledir}/${GC_PC_PREFIX}")
configure_file(cmake/gridcentric.pc.in ${CMAKE_CURRENT_BINARY_DIR}/gridcentric.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/gridcentric.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
        COMPONENT gridcentric)
